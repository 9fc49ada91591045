"""The surface, the region it watches, and the scenario both belong to (docs/conventions.md)."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

Wavefront = Literal["spherical", "fresnel"]
Amplitude = Literal["uniform", "spherical"]

_WIDEST_DEG = 85.0  # a source in the plane of the surface is seen by no element


@dataclasses.dataclass(frozen=True)
class RISArray:
    """A planar surface in the y-z plane, boresight +x, centre at the origin.

    Element n = iv * num_horizontal + ih (horizontal index fastest) lies at
    p_n = (0, (ih - (num_horizontal-1)/2 + index_offset) d, (iv - (num_vertical-1)/2 + index_offset) d),
    unless `positions_m` says where the elements are.
    """

    num_horizontal: int = 12
    """Elements along y."""
    num_vertical: int = 12
    """Elements along z."""
    wavelength_m: float = 0.3
    """Carrier wavelength, metres (0.3 m is 1 GHz)."""
    spacing_m: float = None  # type: ignore[assignment]
    """Distance between neighbouring elements, d, metres; left out, half a wavelength."""
    wavefront: Wavefront = "spherical"
    """"spherical" uses exact distances, "fresnel" the quadratic approximation (parity with the predecessor)."""
    index_offset: float = 0.0
    """Shift of both element indices, in elements. The predecessor's indices -6..5 are an offset of -0.5."""
    amplitude: Amplitude = "uniform"
    """"spherical": the field at an element falls as 1 / distance; "uniform": the same path loss to all elements."""
    element_exponent: float = 0.0
    """e of the elements' field pattern cos^e of the angle against their normal; 0 is isotropic."""
    positions_m: tuple[tuple[float, float], ...] | None = None
    """(y, z) of every element, metres from the origin, in place of a lattice; num_horizontal is then their number and
    num_vertical 1."""

    def __post_init__(self) -> None:
        if self.positions_m is not None:
            self._set_positions(self.positions_m)
        if self.spacing_m is None:
            object.__setattr__(self, "spacing_m", self.wavelength_m / 2)
        for field in ("num_horizontal", "num_vertical", "wavelength_m", "spacing_m"):
            if not getattr(self, field) > 0:
                raise ValueError(f"RISArray.{field}: expected a positive number, got {getattr(self, field)!r}")
        if self.wavefront not in ("spherical", "fresnel"):
            raise ValueError(f'RISArray.wavefront: expected "spherical" or "fresnel", got {self.wavefront!r}')
        if self.amplitude not in ("uniform", "spherical"):
            raise ValueError(f'RISArray.amplitude: expected "uniform" or "spherical", got {self.amplitude!r}')
        if not 0 <= self.element_exponent <= 8:
            raise ValueError(f"RISArray.element_exponent: expected 0 to 8, got {self.element_exponent!r}")

    def _set_positions(self, positions_m: Sequence[Sequence[float]]) -> None:
        positions = tuple(tuple(map(float, position)) for position in positions_m)
        if len(positions) < 2 or any(len(position) != 2 for position in positions):
            raise ValueError(f"RISArray.positions_m: expected at least 2 pairs (y, z), got {len(positions)} entries")
        if not np.all(np.isfinite(positions)) or len(set(positions)) < len(positions):
            raise ValueError("RISArray.positions_m: expected finite places, no two of them the same")
        if self.index_offset != 0.0:
            raise ValueError(f"RISArray.index_offset: expected 0 with positions_m, got {self.index_offset!r}")
        object.__setattr__(self, "positions_m", positions)
        object.__setattr__(self, "num_horizontal", len(positions))
        object.__setattr__(self, "num_vertical", 1)

    @property
    def num_elements(self) -> int:
        """N."""
        return self.num_horizontal * self.num_vertical

    @property
    def has_unit_modulus(self) -> bool:
        """Whether all entries of a steering vector have modulus 1 / sqrt(N), and the vector unit norm."""
        return self.amplitude == "uniform" and self.element_exponent == 0.0

    @property
    def resolution(self) -> tuple[float, float, float]:
        """What the surface can tell apart in sin(azimuth), sin(elevation) and inverse range (1/m): the beam widths
        lambda / D and, of the curvature of a wavefront, lambda / D^2 with the larger of the two D."""
        width_m, height_m = self.aperture_m
        depth = self.wavelength_m / max(width_m, height_m) ** 2
        return (self.wavelength_m / width_m, self.wavelength_m / height_m, depth)

    @property
    def relative_resolution(self) -> np.ndarray:
        """`resolution` in units of the default surface's, float64 [3]: what steps and margins are scaled by."""
        return np.array(self.resolution) / np.array(RISArray().resolution)

    @property
    def wavenumber(self) -> float:
        """k0 = 2 pi / lambda, radians a metre."""
        return 2.0 * math.pi / self.wavelength_m

    def element_positions_m(self) -> np.ndarray:
        """Element coordinates in the plane of the surface: float64 [N, 2], columns y and z, metres."""
        if self.positions_m is not None:
            return np.array(self.positions_m)
        y = np.arange(self.num_horizontal) - (self.num_horizontal - 1) / 2 + self.index_offset
        z = np.arange(self.num_vertical) - (self.num_vertical - 1) / 2 + self.index_offset
        vertical, horizontal = np.meshgrid(z, y, indexing="ij")
        return self.spacing_m * np.stack([horizontal.ravel(), vertical.ravel()], axis=-1)

    @property
    def lattice_shape(self) -> tuple[int, int]:
        """Places along y and z of the smallest lattice, d apart, that spans the elements."""
        if self.positions_m is None:
            return (self.num_horizontal, self.num_vertical)
        places = np.rint(np.ptp(self.element_positions_m(), axis=0) / self.spacing_m).astype(int) + 1
        return (int(places[0]), int(places[1]))

    @property
    def aperture_m(self) -> tuple[float, float]:
        """Extent along y and z, metres, every element taking d."""
        horizontal, vertical = self.lattice_shape
        return (horizontal * self.spacing_m, vertical * self.spacing_m)


@dataclasses.dataclass(frozen=True)
class FieldOfView:
    """The region sources are drawn from, searched in, and decided by. Degrees and metres."""

    azimuth_deg: tuple[float, float] = (-60.0, 60.0)
    elevation_deg: tuple[float, float] = (-30.0, 30.0)
    range_m: tuple[float, float] = (0.5, 10.0)

    def __post_init__(self) -> None:
        for field in ("azimuth_deg", "elevation_deg", "range_m"):
            low, high = getattr(self, field)
            if not low < high:
                raise ValueError(f"FieldOfView.{field}: expected (low, high) with low < high, got {(low, high)!r}")
        for field in ("azimuth_deg", "elevation_deg"):
            limits = getattr(self, field)
            if not all(abs(limit) <= _WIDEST_DEG for limit in limits):
                raise ValueError(f"FieldOfView.{field}: expected angles within +-{_WIDEST_DEG:g}, got {limits!r}")
        if self.range_m[0] <= 0:
            raise ValueError(f"FieldOfView.range_m: expected positive ranges, got {self.range_m!r}")

    @property
    def azimuth(self) -> tuple[float, float]:
        """Azimuth limits, radians."""
        return (math.radians(self.azimuth_deg[0]), math.radians(self.azimuth_deg[1]))

    @property
    def elevation(self) -> tuple[float, float]:
        """Elevation limits, radians."""
        return (math.radians(self.elevation_deg[0]), math.radians(self.elevation_deg[1]))

    @property
    def inverse_range(self) -> tuple[float, float]:
        """Inverse range limits, 1/m, low to high."""
        return (1.0 / self.range_m[1], 1.0 / self.range_m[0])

    @property
    def typical_range_m(self) -> float:
        """The geometric mean of the range's limits."""
        return math.sqrt(self.range_m[0] * self.range_m[1])

    @property
    def gate_angle_deg(self) -> float:
        """How far a hit may be off in azimuth and elevation: 5 degrees, but at most a twelfth of the narrower span."""
        return min(5.0, min(high - low for low, high in (self.azimuth_deg, self.elevation_deg)) / 12.0)

    @property
    def gate_range_m(self) -> float:
        """How far a hit may be off in range: 1 m, but at most 2 / 19 of the span, which is 1 m of 0.5 to 10 m."""
        return min(1.0, (self.range_m[1] - self.range_m[0]) / 9.5)


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What the estimator is told about the installation before it sees a scene."""

    array: RISArray = RISArray()
    field_of_view: FieldOfView = FieldOfView()
    num_antennas: int = 16
    """M, antennas of the base station."""
    max_sources: int = 5
    """K_max, the most sources reported."""

    def __post_init__(self) -> None:
        for field in ("num_antennas", "max_sources"):
            if not getattr(self, field) >= 1:
                raise ValueError(f"Scenario.{field}: expected at least 1, got {getattr(self, field)!r}")
