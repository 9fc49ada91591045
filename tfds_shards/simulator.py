"""One scene from one number: the signal model of docs/conventions.md, drawn by a counter.

    y_l = H diag(c_l) sum_k sqrt(p_k) a_k s_kl + n_l,    p_k = (lambda / (4 pi r_k))^2

A transmit power common to all sources is left out: it scales y, and the model divides y by its RMS. Where a config has
impairments, the snapshots follow the real installation and the scene holds what the estimator is told of it.
"""

import dataclasses
import functools
import hashlib
import math
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf

from models.physics.geometry import RISArray, Scenario
from models.physics.steering import steering_vectors
from tfds_shards.codebook import Codebook, code_phase_index, code_phasors
from tfds_shards.impairments import ImpairmentConfig, displacement_phasors, draw_impairments

SPLITS = ("train", "validation", "test")

LineOfSight = Literal["unit_norm", "true"]

# Where the line of sight arrives at the base station, a uniform linear array at half a wavelength.
_BASE_STATION_AZIMUTH = (-math.pi / 3, math.pi / 3)


@dataclasses.dataclass(frozen=True)
class SceneConfig:
    """How scenes are drawn. The name seeds them: two configs of one name and other settings would share draws."""

    name: str
    """Stem of the data set's name, and part of every scene's seed."""
    scenario: Scenario = Scenario()
    """Surface, field of view, antennas and most sources."""
    num_snapshots: int = 64
    """L, one code a snapshot."""
    snr_db: tuple[float, float] = (-5.0, 20.0)
    """Limits of the uniform draw of the SNR, dB."""
    rician_factor: tuple[float, float] = (0.5, 10.0)
    """Limits of the uniform draw of kappa, a ratio of powers."""
    line_of_sight: LineOfSight = "unit_norm"
    """"unit_norm" keeps both line-of-sight vectors at unit norm, so that kappa / N is in effect; "true" gives kappa."""
    codebook: Codebook = "dft"
    """"dft": the same 2-D DFT codes in every scene; "random": independent codes in every scene."""
    phase_bits: int = 3
    """Resolution of the elements' phase shifts, bits."""
    impairments: ImpairmentConfig | None = None
    """What the estimator is told wrongly or not at all; None where the model is as told."""

    def __post_init__(self) -> None:
        if not self.num_snapshots >= 1:
            raise ValueError(f"SceneConfig.num_snapshots: expected at least 1, got {self.num_snapshots!r}")
        if not self.snr_db[0] <= self.snr_db[1]:
            raise ValueError(f"SceneConfig.snr_db: expected (low, high) with low <= high, got {self.snr_db!r}")
        if not 0 <= self.rician_factor[0] <= self.rician_factor[1]:
            raise ValueError(f"SceneConfig.rician_factor: expected 0 <= low <= high, got {self.rician_factor!r}")
        if self.line_of_sight not in ("unit_norm", "true"):
            raise ValueError(f'SceneConfig.line_of_sight: expected "unit_norm" or "true", got {self.line_of_sight!r}')
        if self.codebook not in ("dft", "random"):
            raise ValueError(f'SceneConfig.codebook: expected "dft" or "random", got {self.codebook!r}')
        if not 1 <= self.phase_bits <= 8:
            raise ValueError(f"SceneConfig.phase_bits: expected 1 to 8, got {self.phase_bits!r}")
        if self.codebook == "dft" and self.num_snapshots > self.scenario.array.num_elements:
            raise ValueError(
                f"SceneConfig.num_snapshots: a DFT codebook of {self.scenario.array.num_elements} elements has as many "
                f"codes, got {self.num_snapshots!r}"
            )

    def settings(self) -> dict[str, Any]:
        """The config as a data set's metadata hold it: without impairments where there are none, as sets written before
        there were any have it."""
        settings = dataclasses.asdict(self)
        if self.impairments is None:
            del settings["impairments"]
        _drop_defaults(settings["scenario"]["array"], RISArray(), ("amplitude", "element_exponent"))
        return settings


def _drop_defaults(settings: dict[str, Any], default: Any, names: tuple[str, ...]) -> None:
    """Removes settings that came later and are as they were before."""
    for name in names:
        if settings[name] == getattr(default, name):
            del settings[name]


CONFIGS: dict[str, SceneConfig] = {
    config.name: config
    for config in (
        SceneConfig("l64_m64"),
        SceneConfig("l64_m64_legacy", scenario=Scenario(array=RISArray(wavefront="fresnel", index_offset=-0.5))),
        SceneConfig("l64_m64_rician", line_of_sight="true"),
        SceneConfig("l64_random", codebook="random"),
        SceneConfig("l64_m64_impaired", impairments=ImpairmentConfig()),
        SceneConfig("l64_m64_amplitude", scenario=Scenario(array=RISArray(amplitude="spherical"))),
        SceneConfig("l64_m64_pattern", scenario=Scenario(array=RISArray(amplitude="spherical", element_exponent=1.0))),
        *(SceneConfig(f"l{snapshots}_m{snapshots}", num_snapshots=snapshots) for snapshots in (16, 32, 128)),
    )
}


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """One scene. Arrays of length K_max are zero from num_sources on.

    snapshots: y, [L, M] complex64.
    channel: H as the estimator is told, [M, N] complex64.
    code_phase_index: [L, N] uint8; the codes are exp(2j pi index / 2^phase_bits).
    snr_db: mean |y without noise|^2 / sigma^2 of this realisation over all snapshots and antennas as reported, dB.
    num_sources: K.
    azimuth, elevation: [K_max] float32, radians.
    range_m: [K_max] float32, metres.
    power: p_k, [K_max] float32.
    index: the number it was drawn from.
    """

    snapshots: np.ndarray
    channel: np.ndarray
    code_phase_index: np.ndarray
    snr_db: float
    num_sources: int
    azimuth: np.ndarray
    elevation: np.ndarray
    range_m: np.ndarray
    power: np.ndarray
    index: int


class _Sources(NamedTuple):
    azimuth: np.ndarray
    elevation: np.ndarray
    range_m: np.ndarray


def simulate_scene(config: SceneConfig, split: str, index: int) -> Scene:
    """The scene of that number: the same whatever the order, the process or the machine.

    Draws, all independent: SNR, kappa uniform in their limits; K uniform in 1..K_max; azimuth, elevation and range
    uniform in the field of view, with no least separation; symbols CN(0, 1) for each source and snapshot; the line of
    sight leaves the surface as a plane wave in a direction uniform in the field of view's angles and reaches the base
    station at an azimuth uniform in +-60 degrees of a linear array at half a wavelength. Impairments come last.

    Args:
      config: what to draw.
      split: "train", "validation" or "test". Part of the seed, so splits never share a scene.
      index: 0 to 2^32 - 1, part of the seed.

    Returns:
      The scene. Machines may differ in the last bit of a sine; nothing else depends on them.

    Raises:
      ValueError: an unknown split or an index out of bounds.
    """
    rng = _scene_generator(config.name, split, index)
    scenario, num_snapshots = config.scenario, config.num_snapshots
    snr_db = float(np.float32(rng.uniform(*config.snr_db)))  # the float32 that is stored is the one realised
    num_sources = int(rng.integers(1, scenario.max_sources + 1))
    sources = _draw_sources(rng, scenario, num_sources)
    vectors, surface_sight, base_sight = _draw_steering(rng, scenario, sources)
    channel = _draw_channel(rng, config, np.outer(base_sight, surface_sight.conj()))
    phase_index = code_phase_index(rng, config.codebook, scenario.array, num_snapshots, config.phase_bits)
    power = (scenario.array.wavelength_m / (4.0 * math.pi * sources.range_m)) ** 2
    symbols = _complex_normal(rng, (num_snapshots, num_sources))
    noise = _complex_normal(rng, (num_snapshots, scenario.num_antennas))
    coefficients = code_phasors(phase_index, config.phase_bits)
    reported_channel, reported_snr_db = channel, snr_db
    if config.impairments is not None:
        impairments = draw_impairments(rng, config.impairments, channel, scenario.array)
        vectors = vectors * displacement_phasors(*sources, impairments.displacement_m, scenario.array)
        coefficients = coefficients * impairments.element_response
        reported_channel = channel + impairments.channel_error
        reported_snr_db = float(np.float32(snr_db + impairments.snr_error_db))
    # einsum, not BLAS: on busy cores its threads wait for each other forty times longer than these products take.
    arriving = np.einsum("lk,kn->ln", symbols * np.sqrt(power), vectors)
    clean = np.einsum("ln,mn->lm", coefficients * arriving, channel)
    noise_power = np.mean(np.abs(clean) ** 2) / 10.0 ** (snr_db / 10.0)
    return Scene(
        snapshots=(clean + math.sqrt(noise_power) * noise).astype(np.complex64),
        channel=reported_channel.astype(np.complex64),
        code_phase_index=phase_index,
        snr_db=reported_snr_db,
        num_sources=num_sources,
        **{key: _padded(value, scenario.max_sources) for key, value in sources._asdict().items()},
        power=_padded(power, scenario.max_sources),
        index=index,
    )


def _scene_generator(name: str, split: str, index: int) -> np.random.Generator:
    """A generator of its own for every (name, split, index)."""
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    if not 0 <= index < 2**32:
        raise ValueError(f"index: expected 0 to 2^32 - 1, got {index!r}")
    name_hash = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")
    return np.random.default_rng(np.random.SeedSequence(name_hash, spawn_key=(SPLITS.index(split), index)))


def _draw_sources(rng: np.random.Generator, scenario: Scenario, num_sources: int) -> _Sources:
    view = scenario.field_of_view
    return _Sources(*(rng.uniform(*limits, num_sources) for limits in (view.azimuth, view.elevation, view.range_m)))


def _draw_steering(rng: np.random.Generator, scenario: Scenario, sources: _Sources) -> tuple[np.ndarray, ...]:
    """Steering vectors of the sources [K, N], and of the line of sight at the surface [N] and the base station [M]."""
    view = scenario.field_of_view
    at_surface = np.stack([sources.azimuth, sources.elevation, 1.0 / sources.range_m])
    sight = [rng.uniform(*view.azimuth), rng.uniform(*view.elevation), 0.0]
    at_base_station = [rng.uniform(*_BASE_STATION_AZIMUTH), 0.0, 0.0]
    surface, base_station = _steering_function(scenario)(
        tf.constant(np.column_stack([at_surface, sight])), tf.constant(at_base_station, tf.float64)
    )
    surface = surface.numpy()
    return surface[:-1], surface[-1], base_station.numpy()


@functools.lru_cache(maxsize=16)
def _steering_function(scenario: Scenario):
    """`steering_vectors` at both ends, traced once: op by op it would take most of a scene's time."""
    wavelength_m = scenario.array.wavelength_m
    base_station = RISArray(scenario.num_antennas, 1, wavelength_m, spacing_m=wavelength_m / 2)

    @tf.function(input_signature=[tf.TensorSpec([3, None], tf.float64), tf.TensorSpec([3], tf.float64)])
    def steering(at_surface: tf.Tensor, at_base_station: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.device("/CPU:0"):  # so that a machine with a GPU draws the same scenes
            return (
                steering_vectors(at_surface[0], at_surface[1], at_surface[2], scenario.array),
                steering_vectors(at_base_station[0], at_base_station[1], at_base_station[2], base_station),
            )

    return steering.get_concrete_function()


def _draw_channel(rng: np.random.Generator, config: SceneConfig, line_of_sight: np.ndarray) -> np.ndarray:
    """H = sqrt(kappa / (kappa + 1)) a_BS a_RIS^H + sqrt(1 / (kappa + 1)) W with W ~ CN(0, 1/M), [M, N].

    An entry of W has power 1/M, one of a_BS a_RIS^H only 1/(M N); "true" weighting scales the latter by sqrt(N).
    """
    kappa = rng.uniform(*config.rician_factor)
    num_antennas, num_elements = line_of_sight.shape
    gain = math.sqrt(num_elements) if config.line_of_sight == "true" else 1.0
    scattered = _complex_normal(rng, line_of_sight.shape) / math.sqrt(num_antennas)
    return math.sqrt(kappa / (kappa + 1)) * gain * line_of_sight + math.sqrt(1 / (kappa + 1)) * scattered


def _complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """CN(0, 1), complex128."""
    return math.sqrt(0.5) * rng.standard_normal((*shape, 2)).view(np.complex128)[..., 0]


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    padded = np.zeros(length, np.float32)
    padded[: values.size] = values
    return padded
