"""Simulates one scene from one number, by the signal model of docs/conventions.md.

    y_l = H diag(c_l) sum_k sqrt(p_k) a_k s_kl + n_l,    p_k = (lambda / (4 pi r_k))^2

A transmit power common to all sources is left out: it scales y, and the model divides y by its RMS. If a config has
impairments, the snapshots follow the real installation, and the scene holds the values given to the estimator. If it
has a hall, a_k is the sum over all paths of a source: sum_p Gamma_p (r / r_p) exp(j k0 (r - r_p)) a(image p).
"""

import dataclasses
import functools
import hashlib
import math
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf
from annotated_types import Interval

from models.checked import AtLeast0, AtLeast1, Limits, NotNegative, Ordered, checked
from models.physics.geometry import RISArray, Scenario
from models.physics.installation import installation_id
from models.physics.steering import steering_vectors
from tfds_shards.codebook import Codebook, code_phase_index, code_phasors
from tfds_shards.hall import BaseStation, Hall, images
from tfds_shards.impairments import ImpairmentConfig, displacement_phasors, draw_impairments
from tfds_shards.reception import received
from tfds_shards.sources import Sources, Transmission, complex_normal, draw_outside, draw_sources, sources_at

SPLITS = ("train", "validation", "test")

LineOfSight = Literal["unit_norm", "true"]

# Settings that did not exist in sets of version 1.0.0.
_LATER_SETTINGS = (
    "impairments",
    "hall",
    "source_bounces",
    "channel_bounces",
    "base_station",
    "transmission",
    "most_sources",
    "outside_sources",
)
_LATER_ARRAY_SETTINGS = ("amplitude", "element_exponent", "positions_m")

# Limits of the azimuth at which the line of sight reaches the base station, a uniform linear array with half-wavelength
# spacing.
_BASE_STATION_AZIMUTH = (-math.pi / 3, math.pi / 3)


_Bounces = Annotated[int, Interval(ge=0, le=2)]


@checked(frozen=True)
class SceneConfig:
    """How scenes are drawn. The name is part of the seed: configs with the same name share their random draws."""

    name: str
    """Start of the data set's name, and part of the seed of every scene."""
    scenario: Scenario = Scenario()
    """Surface, field of view, number of antennas, and K_max."""
    num_snapshots: AtLeast1 = 64
    """L, with one code per snapshot."""
    snr_db: Limits = (-5.0, 20.0)
    """Limits of the uniform draw of the SNR, dB."""
    rician_factor: Annotated[tuple[NotNegative, NotNegative], Ordered] = (0.5, 10.0)
    """Limits of the uniform draw of the Rician factor kappa, a power ratio."""
    line_of_sight: LineOfSight = "unit_norm"
    """"unit_norm" keeps both line-of-sight vectors at unit norm, so that kappa / N is in effect; "true" gives kappa."""
    codebook: Codebook = "dft"
    """"dft": the same 2-D DFT codes in every scene; "random": independent codes in every scene."""
    phase_bits: Annotated[int, Interval(ge=1, le=8)] = 3
    """Resolution of the elements' phase shifts, bits."""
    impairments: ImpairmentConfig | None = None
    """Differences between the installation and what the estimator is given; None: there are none."""
    hall: Hall | None = None
    """Walls that reflect the paths of the next two settings; None: no walls."""
    source_bounces: _Bounces = 0
    """Maximum number of reflections, 0 to 2, between a source and the surface."""
    channel_bounces: _Bounces | None = None
    """Maximum number of reflections, 0 to 2, between surface and base station; H is then traced through the hall. None
    draws a Rician channel."""
    base_station: BaseStation = BaseStation()
    """Its antennas and its position in the hall, if H is traced."""
    transmission: Transmission = Transmission()
    """Powers and symbols of the sources."""
    most_sources: AtLeast1 | None = None
    """K is uniform in 1 to this number, by default K_max. Of more than K_max sources, the truth has those with the
    highest power at the centre of the surface; the others are only in the snapshots."""
    outside_sources: Annotated[tuple[AtLeast0, AtLeast0], Ordered] = (0, 0)
    """Limits of the uniform number of sources outside the field of view, which are only in the snapshots."""

    def __post_init__(self) -> None:
        if self.codebook == "dft" and self.num_snapshots > self.scenario.array.num_elements:
            raise ValueError(
                f"num_snapshots: expected at most {self.scenario.array.num_elements}, the codes of a DFT "
                f"codebook of as many elements, got {self.num_snapshots!r}"
            )
        self._check_hall()

    def _check_hall(self) -> None:
        for name in ("source_bounces", "channel_bounces"):
            order = getattr(self, name)
            if order is not None and self.hall is None and order != type(self).__dataclass_fields__[name].default:
                raise ValueError(f"{name}: expected a hall with reflections, got {order!r} without a hall")
        if self.hall is not None and not self.hall.holds_view(self.scenario.field_of_view):
            raise ValueError(f"hall: expected walls around the whole field of view, got {self.hall!r}")
        if self.hall is not None and self.channel_bounces is not None:
            station = self.base_station
            if not np.all(self.hall.holds(station.corners_m)):
                raise ValueError(f"base_station: expected a place inside the hall, got {station!r}")
            if station.rows * station.columns != self.scenario.num_antennas:
                raise ValueError(
                    f"base_station: expected {self.scenario.num_antennas} antennas, "
                    f"got {station.rows} x {station.columns}"
                )

    def at(self, scenario: Scenario) -> "SceneConfig":
        """Returns this config for another installation, named after both; for its own installation, itself.

        If H is traced, the base station gets the installation's number of antennas, in as square an array as possible.
        """
        if scenario == self.scenario:
            return self
        antennas = scenario.num_antennas
        rows = max(rows for rows in range(1, math.isqrt(antennas) + 1) if antennas % rows == 0)
        return dataclasses.replace(
            self,
            name=f"{self.name}_at_{installation_id(scenario)}",
            scenario=scenario,
            base_station=dataclasses.replace(self.base_station, rows=rows, columns=antennas // rows),
        )

    @property
    def is_as_told(self) -> bool:
        """Whether the estimator's model of the sources in the truth describes the snapshots completely."""
        everyone = self.outside_sources[1] == 0 and self.most_sources_drawn <= self.scenario.max_sources
        return everyone and self.impairments is None and self.source_bounces == 0

    @property
    def most_sources_drawn(self) -> int:
        """Maximum number of sources in the field of view."""
        return self.scenario.max_sources if self.most_sources is None else self.most_sources

    def settings(self) -> dict[str, Any]:
        """Returns the config for the metadata of a data set.

        Settings that were added after version 1.0.0 are left out at their defaults, so older sets on disk still match
        their config.
        """
        settings = dataclasses.asdict(self)
        for holder, own, default, names in (
            (settings, self, SceneConfig(""), _LATER_SETTINGS),
            (settings["scenario"]["array"], self.scenario.array, RISArray(), _LATER_ARRAY_SETTINGS),
        ):
            for name in names:
                if getattr(own, name) == getattr(default, name):
                    del holder[name]
        return settings


_AMPLITUDE = Scenario(array=RISArray(amplitude="spherical"))
_PATTERN = Scenario(array=RISArray(amplitude="spherical", element_exponent=1.0))
_POWER = Transmission(power_spread_db=5.0)

CONFIGS: dict[str, SceneConfig] = {
    config.name: config
    for config in (
        SceneConfig("l64_m64"),
        SceneConfig("l64_m64_legacy", scenario=Scenario(array=RISArray(wavefront="fresnel", index_offset=-0.5))),
        SceneConfig("l64_m64_rician", line_of_sight="true"),
        SceneConfig("l64_random", codebook="random"),
        SceneConfig("l64_m64_impaired", impairments=ImpairmentConfig()),
        SceneConfig("l64_m64_amplitude", scenario=_AMPLITUDE),
        SceneConfig("l64_m64_pattern", scenario=_PATTERN),
        SceneConfig("l64_m64_hall", scenario=_AMPLITUDE, hall=Hall(), source_bounces=2),
        SceneConfig("l64_m64_power", transmission=_POWER),
        SceneConfig("l64_m64_sight", hall=Hall(), channel_bounces=2),
        SceneConfig(
            "l64_m64_world",
            scenario=_PATTERN,
            hall=Hall(),
            source_bounces=2,
            channel_bounces=2,
            transmission=dataclasses.replace(_POWER, symbols="qpsk"),
        ),
        SceneConfig("l64_m64_qpsk", transmission=Transmission(symbols="qpsk")),
        SceneConfig("l64_m64_correlated", transmission=Transmission(correlation=(0.0, 0.95))),
        SceneConfig("l64_m64_outside", outside_sources=(1, 2)),
        SceneConfig("l64_m64_crowded", most_sources=8),
        *(SceneConfig(f"l{snapshots}_m{snapshots}", num_snapshots=snapshots) for snapshots in (16, 32, 128)),
    )
}


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """One scene. Arrays of length K_max are zero from num_sources on.

    snapshots: y, [L, M] complex64.
    channel: H as given to the estimator, [M, N] complex64.
    code_phase_index: [L, N] uint8; the codes are exp(2j pi index / 2^phase_bits).
    snr_db: the SNR as given to the estimator, dB: mean |y without noise|^2 / sigma^2 of this realisation over all
      snapshots and antennas, plus the error of the report if the config has impairments.
    num_sources: K.
    azimuth, elevation: [K_max] float32, radians.
    range_m: [K_max] float32, metres.
    power: p_k, [K_max] float32.
    index: number of the scene in its split.
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


class Moment(NamedTuple):
    """A later moment of a scene: installation, codes, channel and SNR stay the same, the sources have moved.

    number: number of the moment; part of the seed of symbols and noise.
    sources: new positions of the sources in the field of view; they replace those of the scene.
    """

    number: int
    sources: Sources


def simulate_scene(config: SceneConfig, split: str, index: int, moment: Moment | None = None) -> Scene:
    """Simulates one scene. The result does not depend on the order of calls, the process or the machine.

    All draws are independent and uniform within their limits unless said otherwise: SNR and kappa; K in 1..K_max;
    azimuth, elevation and range in the field of view, without a minimum separation; symbols CN(0, 1) for each source
    and snapshot. The line of sight leaves the surface as a plane wave, in a direction within the angles of the field of
    view. It reaches the base station, a linear array with half-wavelength spacing, at an azimuth within +-60 degrees.
    Impairments are drawn last. Machines may differ in the last bit of a sine; nothing else depends on the machine.

    Args:
      config: what to draw.
      split: "train", "validation" or "test"; part of the seed, so splits never share a scene.
      index: number of the scene, 0 to 2^32 - 1; part of the seed.
      moment: a later moment of the scene; None simulates the scene itself.

    Raises:
      ValueError: an unknown split or an index out of bounds.
    """
    rng = _scene_generator(config.name, split, index)
    scenario, num_snapshots = config.scenario, config.num_snapshots
    snr_db = float(np.float32(rng.uniform(*config.snr_db)))  # rounded first, so that the stored SNR is the exact one
    num_drawn = int(rng.integers(1, config.most_sources_drawn + 1))
    sources = _draw_all_sources(rng, config, num_drawn)
    moment_rng = rng
    if moment is not None:
        sources = Sources(*(np.append(now, was[num_drawn:]) for now, was in zip(moment.sources, sources, strict=True)))
        num_drawn = moment.sources.range_m.size
        moment_rng = _scene_generator(config.name, split, index, moment.number)
    paths = _paths_to_surface(config, sources)
    channel = _draw_channel(rng, config)
    phase_index = code_phase_index(rng, config.codebook, scenario.array, num_snapshots, config.phase_bits)
    power = (scenario.array.wavelength_m / (4.0 * math.pi * sources.range_m)) ** 2
    power *= config.transmission.draw_gains(rng, power.size)
    symbols = config.transmission.draw_symbols(moment_rng, num_snapshots, power.size)
    noise = complex_normal(moment_rng, (num_snapshots, scenario.num_antennas))
    coefficients = code_phasors(phase_index, config.phase_bits)
    reported_channel, reported_snr_db = channel, snr_db
    displacement_m = None
    if config.impairments is not None:
        impairments = draw_impairments(rng, config.impairments, channel, scenario.array)
        displacement_m = impairments.displacement_m
        coefficients = coefficients * impairments.element_response
        reported_channel = channel + impairments.channel_error
        reported_snr_db = float(np.float32(snr_db + impairments.snr_error_db))
    vectors = paths.vectors(scenario.array, displacement_m)
    in_truth = _strongest(power[:num_drawn], scenario.max_sources)
    return Scene(
        snapshots=received(symbols * np.sqrt(power), vectors, coefficients, channel, snr_db, noise),
        channel=reported_channel.astype(np.complex64),
        code_phase_index=phase_index,
        snr_db=reported_snr_db,
        num_sources=in_truth.size,
        **{key: _padded(value, scenario.max_sources) for key, value in sources.take(in_truth)._asdict().items()},
        power=_padded(power[in_truth], scenario.max_sources),
        index=index,
    )


def _scene_generator(name: str, split: str, index: int, *moment: int) -> np.random.Generator:
    """Returns a separate generator for each (name, split, index), and for each moment of it."""
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    if not 0 <= index < 2**32:
        raise ValueError(f"index: expected 0 to 2^32 - 1, got {index!r}")
    name_hash = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")
    return np.random.default_rng(np.random.SeedSequence(name_hash, spawn_key=(SPLITS.index(split), index, *moment)))


def _draw_all_sources(rng: np.random.Generator, config: SceneConfig, num_drawn: int) -> Sources:
    """Draws the sources: first those in the field of view, then those outside it."""
    view = config.scenario.field_of_view
    sources = draw_sources(rng, view, num_drawn)
    if config.outside_sources[1] == 0:
        return sources
    low, high = config.outside_sources
    outside = draw_outside(rng, view, int(rng.integers(low, high + 1)), config.hall)
    return Sources(*(np.concatenate(pair) for pair in zip(sources, outside, strict=True)))


def _strongest(power: np.ndarray, count: int) -> np.ndarray:
    """Returns the indices of the `count` strongest sources, in rising order."""
    return np.sort(np.argsort(-power, kind="stable")[:count])


class _Paths(NamedTuple):
    """P paths from each of K points to the surface; the first is the direct one.

    apparent: apparent origins, [K P]; the paths of a point are adjacent.
    gains: amplitude and phase of each path relative to the direct one at the centre of the surface, [K, P] complex128.
    """

    apparent: Sources
    gains: np.ndarray

    def vectors(self, array: RISArray, displacement_m: np.ndarray | None = None) -> np.ndarray:
        """Returns the field at the elements, summed over the paths of each point; with a single path this is a_k.

        [K, N] complex128. The elements are displaced by `displacement_m`, [N, 3] float64, metres.
        """
        by_path = _steering(array, self.apparent)
        if displacement_m is not None:
            by_path = by_path * displacement_phasors(*self.apparent, displacement_m, array)
        if self.gains.shape[1] == 1:
            return by_path
        return np.einsum("kp,kpn->kn", self.gains, by_path.reshape(*self.gains.shape, -1))


def _paths_to_surface(config: SceneConfig, sources: Sources) -> _Paths:
    if config.hall is None or config.source_bounces == 0:
        return _Paths(sources, np.ones((sources.range_m.size, 1), complex))
    return _traced(config.hall, sources.positions_m(), config.source_bounces, config.scenario.array)


def _traced(hall: Hall, points_m: np.ndarray, max_order: int, array: RISArray) -> _Paths:
    """Returns the paths from points [K, 3] with at most `max_order` reflections.

    Relative to the direct path of length r, a path of length r_p has the gain r / r_p exp(j k0 (r - r_p)), times the
    coefficients of its reflections.
    """
    found = images(hall, points_m, max_order, array.wavelength_m)
    length_m = np.linalg.norm(found.points_m, axis=-1)
    shorter_m = length_m[:, :1] - length_m
    gains = found.coefficients * length_m[:, :1] / length_m * np.exp(1j * array.wavenumber * shorter_m)
    seen = found.points_m * np.where(found.points_m[..., :1] > 0, 1.0, -1.0)  # those behind have zero gain
    return _Paths(sources_at(seen.reshape(-1, 3)), gains)


def _steering(array: RISArray, sources: Sources) -> np.ndarray:
    """Returns steering vectors [K, N] complex128; an infinite range gives a plane wave."""
    coordinates = np.stack([sources.azimuth, sources.elevation, 1.0 / sources.range_m])
    return _steering_function(array)(tf.constant(coordinates)).numpy()


@functools.lru_cache(maxsize=32)
def _steering_function(array: RISArray):
    """Returns `steering_vectors` as a traced graph; executed op by op, it would take most of the time of a scene."""

    @tf.function(input_signature=[tf.TensorSpec([3, None], tf.float64)])
    def steering(coordinates: tf.Tensor) -> tf.Tensor:
        with tf.device("/CPU:0"):  # so that a machine with a GPU draws the same scenes
            return steering_vectors(coordinates[0], coordinates[1], coordinates[2], array)

    return steering.get_concrete_function()


def _draw_channel(rng: np.random.Generator, config: SceneConfig) -> np.ndarray:
    """Draws H, [M, N] complex128."""
    if config.hall is not None and config.channel_bounces is not None:
        return _draw_traced_channel(rng, config, config.hall, config.channel_bounces)
    return _draw_rician_channel(rng, config)


def _draw_traced_channel(rng: np.random.Generator, config: SceneConfig, hall: Hall, max_order: int) -> np.ndarray:
    """Draws H_mn by reciprocity: the field at element n from antenna m and its images.

    The direct path of antenna 0 has power 1 / N.
    """
    array = config.scenario.array
    antennas_m = config.base_station.draw_antennas_m(rng, array.wavelength_m)
    paths = _traced(hall, antennas_m, max_order, array)
    length_m = np.linalg.norm(antennas_m, axis=-1)
    direct = length_m[0] / length_m * np.exp(-1j * array.wavenumber * length_m)
    return direct[:, None] * paths.vectors(array)


def _draw_rician_channel(rng: np.random.Generator, config: SceneConfig) -> np.ndarray:
    """Draws H = sqrt(kappa / (kappa + 1)) a_BS a_RIS^H + sqrt(1 / (kappa + 1)) W with W ~ CN(0, 1/M).

    An entry of W has power 1/M, an entry of a_BS a_RIS^H only 1/(M N). The option "true" of `line_of_sight` scales the
    latter by sqrt(N).
    """
    scenario = config.scenario
    view, num_antennas, num_elements = scenario.field_of_view, scenario.num_antennas, scenario.array.num_elements
    wavelength_m, infinity = scenario.array.wavelength_m, np.array([np.inf])
    departure = Sources(rng.uniform(*view.azimuth, 1), rng.uniform(*view.elevation, 1), infinity)
    arrival = Sources(rng.uniform(*_BASE_STATION_AZIMUTH, 1), np.zeros(1), infinity)
    at_base_station = _steering(RISArray(num_antennas, 1, wavelength_m), arrival)[0]
    line_of_sight = np.outer(at_base_station, _steering(scenario.array, departure)[0].conj())
    kappa = rng.uniform(*config.rician_factor)
    gain = math.sqrt(num_elements) if config.line_of_sight == "true" else 1.0
    scattered = complex_normal(rng, line_of_sight.shape) / math.sqrt(num_antennas)
    return math.sqrt(kappa / (kappa + 1)) * gain * line_of_sight + math.sqrt(1 / (kappa + 1)) * scattered


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    padded = np.zeros(length, np.float32)
    padded[: values.size] = values
    return padded
