"""The sources of a scene: positions, powers, symbols."""

import math
from typing import Annotated, Literal, NamedTuple

import numpy as np

from models.checked import NotNegative, Ordered, Probability, checked
from models.physics.geometry import FieldOfView
from tfds_shards.hall import Hall

Symbols = Literal["gaussian", "qpsk"]

_OUTSIDE_AZIMUTH, _OUTSIDE_ELEVATION = math.radians(80.0), math.radians(60.0)
_OUTSIDE_RANGE = 1.5  # times the largest range of the field of view


class Sources(NamedTuple):
    """Positions of K sources: azimuth, elevation (radians) and range_m (metres), [K] float64 each."""

    azimuth: np.ndarray
    elevation: np.ndarray
    range_m: np.ndarray

    def positions_m(self) -> np.ndarray:
        """Returns Cartesian positions q, [K, 3] float64, metres."""
        across = self.range_m * np.cos(self.elevation)
        parts = [across * np.cos(self.azimuth), across * np.sin(self.azimuth), self.range_m * np.sin(self.elevation)]
        return np.stack(parts, axis=-1)

    def take(self, indices: np.ndarray) -> "Sources":
        """Returns the sources with these indices, an integer array."""
        return Sources(*(values[indices] for values in self))


def sources_at(positions_m: np.ndarray) -> Sources:
    """Returns the sources at points [..., 3], metres: the inverse of `Sources.positions_m`."""
    x, y, z = np.moveaxis(positions_m, -1, 0)
    range_m = np.linalg.norm(positions_m, axis=-1)
    return Sources(np.arctan2(y, x), np.arcsin(z / range_m), range_m)


def draw_sources(rng: np.random.Generator, view: FieldOfView, num_sources: int) -> Sources:
    """Draws sources uniformly in azimuth, elevation and range over the field of view."""
    return Sources(*(rng.uniform(*limits, num_sources) for limits in (view.azimuth, view.elevation, view.range_m)))


def draw_outside(rng: np.random.Generator, view: FieldOfView, num_sources: int, hall: Hall | None) -> Sources:
    """Draws interferers: outside the field of view, in front of the surface, and inside the hall if there is one.

    They are uniform in azimuth +-80 degrees, elevation +-60 degrees, and range from the smallest of the field of view
    to 1.5 times its largest; points inside the field of view or outside the hall are drawn again.
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
    """Powers and symbols of the sources."""

    power_spread_db: NotNegative = 0.0
    """Standard deviation of the transmit powers, which are normally distributed in dB."""
    symbols: Symbols = "gaussian"
    """"gaussian": circular Gaussian; "qpsk": one of four phases, constant modulus."""
    correlation: Annotated[tuple[Probability, Probability], Ordered] = (0.0, 0.0)
    """Limits of the uniform draw of the correlation between the symbols of any two sources: the modulus of the
    correlation coefficient, 0 to 1."""

    def draw_gains(self, rng: np.random.Generator, num_sources: int) -> np.ndarray:
        """Draws transmit powers t_k, [K] float64, relative to the common one; without a spread all are 1, undrawn."""
        if self.power_spread_db == 0.0:
            return np.ones(num_sources)
        return 10.0 ** (self.power_spread_db * rng.standard_normal(num_sources) / 10.0)

    def draw_symbols(self, rng: np.random.Generator, num_snapshots: int, num_sources: int) -> np.ndarray:
        """Draws the symbols s, [L, K] complex128 of unit power."""
        if self.correlation[1] == 0.0:
            return self._independent(rng, (num_snapshots, num_sources))
        correlation = rng.uniform(*self.correlation)
        own = self._independent(rng, (num_snapshots, num_sources))
        common = self._independent(rng, (num_snapshots, 1))
        turns = np.exp(2j * math.pi * rng.integers(4, size=num_sources) / 4)  # keeps the symbols in the alphabet
        if self.symbols == "gaussian":
            return math.sqrt(1.0 - correlation) * own + math.sqrt(correlation) * common * turns
        repeated = rng.random(own.shape) < math.sqrt(correlation)  # of two sources both, with probability correlation
        return np.where(repeated, common * turns, own)

    def _independent(self, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        if self.symbols == "qpsk":
            return np.exp(0.25j * math.pi * (2 * rng.integers(4, size=shape) + 1))
        return complex_normal(rng, shape)


def complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draws CN(0, 1), complex128, of the given shape."""
    return math.sqrt(0.5) * rng.standard_normal((*shape, 2)).view(np.complex128)[..., 0]
