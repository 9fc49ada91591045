"""Installations with errors that last, and scenes of the simulator's worlds seen through them."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from models.physics.geometry import RISArray
from models.physics.steering import steering_vectors
from tfds_shards.codebook import code_phasors
from tfds_shards.hall import images
from tfds_shards.simulator import Scene, SceneConfig, simulate_scene
from tfds_shards.sources import complex_normal, sources_at

INPUTS = ("snapshots", "ris_codes", "channel", "snr_db")
_SCENES_APART = 100_000


@dataclasses.dataclass(frozen=True)
class Errors:
    """What an installation does otherwise than told, for as long as it stands."""

    phase_rms_rad: float = 0.0
    """Deviation of the elements' constant phase errors."""
    dead_share: float = 0.0
    """Share of the elements that reflect nothing."""
    amplitude: tuple[float, float] = (1.0, 1.0)
    """Limits of the uniform draw of the elements' amplitudes."""
    channel_error_db: float = -math.inf
    """Power of what a static channel's estimate is off by, relative to the channel's; -inf draws a new channel, known
    without error, for every scene."""


@dataclasses.dataclass(frozen=True)
class Installed:
    """One installation: g [N] complex128; its channel and what is told of it, [M, N], None if scenes draw their own."""

    element_response: np.ndarray
    channel: np.ndarray | None = None
    told_channel: np.ndarray | None = None


def draw_installation(seed: int, errors: Errors, config: SceneConfig) -> Installed:
    """An installation with such errors."""
    rng, count = np.random.default_rng((seed, 99)), config.scenario.array.num_elements
    response = rng.uniform(*errors.amplitude, count) * np.exp(1j * errors.phase_rms_rad * rng.standard_normal(count))
    response[rng.permutation(count)[: round(errors.dead_share * count)]] = 0.0
    if errors.channel_error_db == -math.inf:
        return Installed(response)
    channel = simulate_scene(config, "train", seed).channel.astype(np.complex128)
    scale = math.sqrt(10.0 ** (errors.channel_error_db / 10.0) * np.mean(np.abs(channel) ** 2))
    return Installed(response, channel, channel + scale * complex_normal(rng, channel.shape))


def _arriving(scene: Scene, config: SceneConfig) -> np.ndarray:
    """What one symbol of each source is at the elements, [K, N], its reflections in a hall with it."""
    array: RISArray = config.scenario.array
    count = scene.num_sources
    azimuth, elevation, range_m = (
        np.asarray(values[:count], np.float64) for values in (scene.azimuth, scene.elevation, scene.range_m)
    )
    unit = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    points_m, gains = (range_m * np.stack(unit)).T[:, None], np.ones((count, 1), complex)
    if config.hall is not None and config.source_bounces:
        found = images(config.hall, points_m[:, 0], config.source_bounces, array.wavelength_m)
        length_m = np.linalg.norm(found.points_m, axis=-1)
        phase = np.exp(1j * array.wavenumber * (length_m[:, :1] - length_m))
        gains = found.coefficients * length_m[:, :1] / length_m * phase
        points_m = found.points_m * np.where(found.points_m[..., :1] > 0, 1.0, -1.0)
    seen = sources_at(points_m.reshape(-1, 3))
    angles = (tf.constant(seen.azimuth), tf.constant(seen.elevation), tf.constant(1.0 / seen.range_m))
    vectors = steering_vectors(*angles, array).numpy().reshape(*gains.shape, -1)
    return np.sqrt(scene.power[:count, None]) * np.einsum("kp,kpn->kn", gains, vectors)


def _through(
    rng: np.random.Generator, scene: Scene, installed: Installed, config: SceneConfig
) -> dict[str, np.ndarray]:
    """The scene as this installation receives it."""
    channel = scene.channel if installed.channel is None else installed.channel
    codes = code_phasors(scene.code_phase_index, config.phase_bits)
    symbols = config.transmission.draw_symbols(rng, config.num_snapshots, scene.num_sources)
    field = symbols @ _arriving(scene, config)
    clean = np.einsum("ln,mn->lm", codes * installed.element_response * field, channel)
    noise_power = np.mean(np.abs(clean) ** 2) / 10.0 ** (scene.snr_db / 10.0)
    truth = ("azimuth", "elevation", "range_m", "power")
    return {name: getattr(scene, name) for name in truth} | {
        "snapshots": (clean + math.sqrt(noise_power) * complex_normal(rng, clean.shape)).astype(np.complex64),
        "ris_codes": codes.astype(np.complex64),
        "channel": (channel if installed.told_channel is None else installed.told_channel).astype(np.complex64),
        "snr_db": np.float32(scene.snr_db),
        "num_sources": np.int32(scene.num_sources),
    }


def draw_scenes(seed: int, count: int, installed: Installed, config: SceneConfig) -> dict[str, np.ndarray]:
    """Scenes of an installation, inputs and truth, batch first: places, channels and codes of the simulator's test
    scenes from `seed` times 100,000 on; symbols and noise are others."""
    numbers = range(seed * _SCENES_APART, seed * _SCENES_APART + count)
    scenes = [
        _through(np.random.default_rng((7, number)), simulate_scene(config, "test", number), installed, config)
        for number in numbers
    ]
    return {name: np.stack([scene[name] for scene in scenes]) for name in scenes[0]}
