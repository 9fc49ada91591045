"""The sources of a scene: where they are, how loud, what they send."""

import math
from typing import Annotated, Literal, NamedTuple

import numpy as np

from models.checked import NotNegative, Ordered, Probability, checked
from models.physics.geometry import FieldOfView
from tfds_shards.hall import Hall

Symbols = Literal["gaussian", "qpsk"]

_OUTSIDE_AZIMUTH, _OUTSIDE_ELEVATION = math.radians(80.0), math.radians(60.0)
_OUTSIDE_RANGE = 1.5  # of the field of view's largest


class Sources(NamedTuple):
    """K sources of a scene: azimuth, elevation (radians), range_m, [K] float64 each."""

    azimuth: np.ndarray
    elevation: np.ndarray
    range_m: np.ndarray

    def positions_m(self) -> np.ndarray:
        """[K, 3], metres."""
        across = self.range_m * np.cos(self.elevation)
        parts = [across * np.cos(self.azimuth), across * np.sin(self.azimuth), self.range_m * np.sin(self.elevation)]
        return np.stack(parts, axis=-1)

    def take(self, indices: np.ndarray) -> "Sources":
        """Those of these numbers."""
        return Sources(*(values[indices] for values in self))


def sources_at(positions_m: np.ndarray) -> Sources:
    """The inverse of `Sources.positions_m`, for points [..., 3]."""
    x, y, z = np.moveaxis(positions_m, -1, 0)
    range_m = np.linalg.norm(positions_m, axis=-1)
    return Sources(np.arctan2(y, x), np.arcsin(z / range_m), range_m)


def draw_sources(rng: np.random.Generator, view: FieldOfView, num_sources: int) -> Sources:
    """Uniform in azimuth, elevation and range over the field of view."""
    return Sources(*(rng.uniform(*limits, num_sources) for limits in (view.azimuth, view.elevation, view.range_m)))


def draw_outside(rng: np.random.Generator, view: FieldOfView, num_sources: int, hall: Hall | None) -> Sources:
    """Sources that no estimator is asked for: outside the field of view, in front of the surface, inside the hall.

    Uniform in azimuth +-80 degrees, elevation +-60 degrees and range from the field of view's least to 1.5 times its
    largest, as far as that is outside.
    """
    limits = [(-_OUTSIDE_AZIMUTH, _OUTSIDE_AZIMUTH), (-_OUTSIDE_ELEVATION, _OUTSIDE_ELEVATION)]
    limits.append((view.range_m[0], _OUTSIDE_RANGE * view.range_m[1]))
    watched = (view.azimuth, view.elevation, view.range_m)
    found: list[list[float]] = []
    while len(found) < num_sources:
        point = [rng.uniform(*of_axis) for of_axis in limits]
        inside = all(low <= value <= high for value, (low, high) in zip(point, watched, strict=True))
        position_m = Sources(*np.array(point)[:, None]).positions_m()
        if not inside and (hall is None or hall.holds(position_m)[0]):
            found.append(point)
    return Sources(*np.reshape(found, (num_sources, 3)).T)


@checked(frozen=True)
class Transmission:
    """What sources send."""

    power_spread_db: NotNegative = 0.0
    """Standard deviation of the sources' transmit powers, normal in dB."""
    symbols: Symbols = "gaussian"
    """"gaussian": circular Gaussian; "qpsk": one of four phases, constant modulus."""
    correlation: Annotated[tuple[Probability, Probability], Ordered] = (0.0, 0.0)
    """Limits of the uniform draw of the correlation coefficient between any two sources' symbols, a modulus."""

    def draw_gains(self, rng: np.random.Generator, num_sources: int) -> np.ndarray:
        """Transmit powers, [K], a ratio to the common one; nothing is drawn where there is no spread."""
        if self.power_spread_db == 0.0:
            return np.ones(num_sources)
        return 10.0 ** (self.power_spread_db * rng.standard_normal(num_sources) / 10.0)

    def draw_symbols(self, rng: np.random.Generator, num_snapshots: int, num_sources: int) -> np.ndarray:
        """s, [L, K] complex128 of unit power."""
        if self.correlation[1] == 0.0:
            return self._independent(rng, (num_snapshots, num_sources))
        correlation = rng.uniform(*self.correlation)
        own = self._independent(rng, (num_snapshots, num_sources))
        common = self._independent(rng, (num_snapshots, 1))
        turns = np.exp(2j * math.pi * rng.integers(4, size=num_sources) / 4)  # keeps the alphabet
        if self.symbols == "gaussian":
            return math.sqrt(1.0 - correlation) * own + math.sqrt(correlation) * common * turns
        repeated = rng.random(own.shape) < math.sqrt(correlation)  # both do, with probability correlation
        return np.where(repeated, common * turns, own)

    def _independent(self, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        if self.symbols == "qpsk":
            return np.exp(0.25j * math.pi * (2 * rng.integers(4, size=shape) + 1))
        return complex_normal(rng, shape)


def complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """CN(0, 1), complex128."""
    return math.sqrt(0.5) * rng.standard_normal((*shape, 2)).view(np.complex128)[..., 0]
