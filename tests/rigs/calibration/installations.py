"""Installations with constant errors, and scenes of the simulator as these installations receive them."""

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
    """Constant differences between an installation and its nominal values."""

    phase_rms_rad: float = 0.0
    """Standard deviation of the constant phase errors of the elements, radians."""
    dead_share: float = 0.0
    """Share of the elements that reflect nothing."""
    amplitude: tuple[float, float] = (1.0, 1.0)
    """Limits of the uniform draw of the element amplitudes."""
    channel_error_db: float = -math.inf
    """Power of the error of a static channel, relative to the power of the channel, dB; -inf draws a new channel, known
    without error, for every scene."""


@dataclasses.dataclass(frozen=True)
class Installed:
    """One installation: g, [N] complex128; true and reported channel, [M, N], or None if each scene has its own."""

    element_response: np.ndarray
    channel: np.ndarray | None = None
    told_channel: np.ndarray | None = None


def draw_installation(seed: int, errors: Errors, config: SceneConfig) -> Installed:
    """Draws an installation with such errors."""
    rng, count = np.random.default_rng((seed, 99)), config.scenario.array.num_elements
    response = rng.uniform(*errors.amplitude, count) * np.exp(1j * errors.phase_rms_rad * rng.standard_normal(count))
    response[rng.permutation(count)[: round(errors.dead_share * count)]] = 0.0
    if errors.channel_error_db == -math.inf:
        return Installed(response)
    channel = simulate_scene(config, "train", seed).channel.astype(np.complex128)
    scale = math.sqrt(10.0 ** (errors.channel_error_db / 10.0) * np.mean(np.abs(channel) ** 2))
    return Installed(response, channel, channel + scale * complex_normal(rng, channel.shape))


def _arriving(scene: Scene, config: SceneConfig) -> np.ndarray:
    """Returns the field of a unit symbol of each source at the elements, with reflections in a hall: [K, N]."""
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
    """Returns the scene as this installation receives it."""
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
    """Draws scenes of an installation, inputs and truth, batch first.

    Positions, channels and codes are those of the simulator's test scenes from `seed` times 100,000 on. Symbols and
    noise are new.
    """
    numbers = range(seed * _SCENES_APART, seed * _SCENES_APART + count)
    scenes = [
        _through(np.random.default_rng((7, number)), simulate_scene(config, "test", number), installed, config)
        for number in numbers
    ]
    return {name: np.stack([scene[name] for scene in scenes]) for name in scenes[0]}
