"""Installations with errors that last, and scenes seen through them, by code of their own and not the simulator's."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from models.physics.geometry import Scenario
from models.physics.steering import steering_vectors
from tfds_shards.codebook import Codebook, code_phase_index, code_phasors

INPUTS = ("snapshots", "ris_codes", "channel", "snr_db")


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
class SceneDraw:
    """How scenes are drawn. As the simulator's l64_m64 where left out."""

    scenario: Scenario = Scenario()
    num_snapshots: int = 64
    snr_db: tuple[float, float] = (-5.0, 20.0)
    rician_factor: tuple[float, float] = (0.5, 10.0)
    codebook: Codebook = "dft"
    phase_bits: int = 3
    power_spread_db: float = 0.0
    """Deviation of the sources' transmit powers."""


@dataclasses.dataclass(frozen=True)
class Installed:
    """One installation: g [N] complex128; its channel and what is told of it, [M, N], None if scenes draw their own."""

    element_response: np.ndarray
    channel: np.ndarray | None
    told_channel: np.ndarray | None


def _complex_normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return math.sqrt(0.5) * rng.standard_normal((*shape, 2)).view(np.complex128)[..., 0]


def _channel(rng: np.random.Generator, draw: SceneDraw) -> np.ndarray:
    """Rician as the simulator's with unit-norm line of sight: nearly all of it is scattered."""
    shape = (draw.scenario.num_antennas, draw.scenario.array.num_elements)
    kappa = rng.uniform(*draw.rician_factor)
    phase = np.exp(2j * math.pi * rng.random())
    sight = phase * np.ones(shape) / math.sqrt(shape[0] * shape[1])
    return math.sqrt(kappa / (kappa + 1)) * sight + _complex_normal(rng, *shape) / math.sqrt((kappa + 1) * shape[0])


def draw_installation(rng: np.random.Generator, errors: Errors, draw: SceneDraw = SceneDraw()) -> Installed:
    """An installation with such errors."""
    count = draw.scenario.array.num_elements
    response = rng.uniform(*errors.amplitude, count) * np.exp(1j * errors.phase_rms_rad * rng.standard_normal(count))
    response[rng.permutation(count)[: round(errors.dead_share * count)]] = 0.0
    if errors.channel_error_db == -math.inf:
        return Installed(response, None, None)
    channel = _channel(rng, draw)
    scale = math.sqrt(10.0 ** (errors.channel_error_db / 10.0) * np.mean(np.abs(channel) ** 2))
    return Installed(response, channel, channel + scale * _complex_normal(rng, *channel.shape))


def _scene(rng: np.random.Generator, installed: Installed, draw: SceneDraw) -> dict[str, np.ndarray]:
    scenario, view = draw.scenario, draw.scenario.field_of_view
    count = int(rng.integers(1, scenario.max_sources + 1))
    azimuth, elevation, range_m = (
        rng.uniform(*limits, count) for limits in (view.azimuth, view.elevation, view.range_m)
    )
    vectors = steering_vectors(*(tf.constant(x) for x in (azimuth, elevation, 1.0 / range_m)), scenario.array).numpy()
    channel = _channel(rng, draw) if installed.channel is None else installed.channel
    codes = code_phasors(
        code_phase_index(rng, draw.codebook, scenario.array, draw.num_snapshots, draw.phase_bits), draw.phase_bits
    )
    spread = 10.0 ** (draw.power_spread_db * rng.standard_normal(count) / 10.0)
    power = spread * (scenario.array.wavelength_m / (4.0 * math.pi * range_m)) ** 2
    arriving = (_complex_normal(rng, draw.num_snapshots, count) * np.sqrt(power)) @ vectors
    clean = np.einsum("ln,mn->lm", codes * installed.element_response * arriving, channel)
    snr_db = rng.uniform(*draw.snr_db)
    noise_power = np.mean(np.abs(clean) ** 2) / 10.0 ** (snr_db / 10.0)
    padded = {"azimuth": azimuth, "elevation": elevation, "range_m": range_m, "power": power}
    padded = {name: np.pad(x, (0, scenario.max_sources - count)).astype(np.float32) for name, x in padded.items()}
    return padded | {
        "snapshots": (clean + math.sqrt(noise_power) * _complex_normal(rng, *clean.shape)).astype(np.complex64),
        "ris_codes": codes.astype(np.complex64),
        "channel": (channel if installed.told_channel is None else installed.told_channel).astype(np.complex64),
        "snr_db": np.float32(snr_db),
        "num_sources": np.int32(count),
    }


def draw_scenes(
    seed: tuple[int, ...], count: int, installed: Installed, draw: SceneDraw = SceneDraw()
) -> dict[str, np.ndarray]:
    """Scenes of an installation: the inputs and the truth, batch first. Scene i depends on the seed and i alone."""
    scenes = [_scene(np.random.default_rng((*seed, number)), installed, draw) for number in range(count)]
    return {name: np.stack([scene[name] for scene in scenes]) for name in scenes[0]}
