"""The surface, the region it watches, and the scenario both belong to (docs/conventions.md)."""

import math
from typing import Annotated, Literal

import numpy as np
import pydantic
from annotated_types import Interval

from models.checked import AtLeast1, Positive, Rising, checked

Wavefront = Literal["spherical", "fresnel"]
Amplitude = Literal["uniform", "spherical"]

ElementExponent = Annotated[float, Interval(ge=0, le=8)]
_WIDEST_DEG = 85.0  # a source in the plane of the surface is seen by no element


def _all_other(positions_m: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    if len(positions_m) < 2:
        raise ValueError(f"expected at least 2 pairs (y, z), got {len(positions_m)}")
    if len(set(positions_m)) < len(positions_m):
        raise ValueError("expected places no two of which are the same")
    return positions_m


Positions = Annotated[tuple[tuple[float, float], ...], pydantic.AfterValidator(_all_other)]
_Angle = Annotated[float, Interval(ge=-_WIDEST_DEG, le=_WIDEST_DEG)]


@checked(frozen=True)
class RISArray:
    """A planar surface in the y-z plane, boresight +x, centre at the origin.

    Element n = iv * num_horizontal + ih (horizontal index fastest) lies at
    p_n = (0, (ih - (num_horizontal-1)/2 + index_offset) d, (iv - (num_vertical-1)/2 + index_offset) d),
    unless `positions_m` says where the elements are.
    """

    num_horizontal: AtLeast1 = 12
    """Elements along y."""
    num_vertical: AtLeast1 = 12
    """Elements along z."""
    wavelength_m: Positive = 0.3
    """Carrier wavelength, metres (0.3 m is 1 GHz)."""
    spacing_m: Positive = None  # type: ignore[assignment]
    """Distance between neighbouring elements, d, metres; left out, half a wavelength."""
    wavefront: Wavefront = "spherical"
    """"spherical" uses exact distances, "fresnel" the quadratic approximation (parity with the predecessor)."""
    index_offset: float = 0.0
    """Shift of both element indices, in elements. The predecessor's indices -6..5 are an offset of -0.5."""
    amplitude: Amplitude = "uniform"
    """"spherical": the field at an element falls as 1 / distance; "uniform": the same path loss to all elements."""
    element_exponent: ElementExponent = 0.0
    """e of the elements' field pattern cos^e of the angle against their normal; 0 is isotropic."""
    positions_m: Positions | None = None
    """(y, z) of every element, metres from the origin, in place of a lattice; num_horizontal is then their number and
    num_vertical 1."""

    def __post_init__(self) -> None:
        if self.positions_m is not None:
            if self.index_offset != 0.0:
                raise ValueError(f"index_offset: expected 0 with positions_m, got {self.index_offset!r}")
            object.__setattr__(self, "num_horizontal", len(self.positions_m))
            object.__setattr__(self, "num_vertical", 1)
        if self.spacing_m is None:
            object.__setattr__(self, "spacing_m", self.wavelength_m / 2)

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


@checked(frozen=True)
class FieldOfView:
    """The region sources are drawn from, searched in, and decided by. Degrees and metres."""

    azimuth_deg: Annotated[tuple[_Angle, _Angle], Rising] = (-60.0, 60.0)
    elevation_deg: Annotated[tuple[_Angle, _Angle], Rising] = (-30.0, 30.0)
    range_m: Annotated[tuple[Positive, Positive], Rising] = (0.5, 10.0)

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


@checked(frozen=True)
class Scenario:
    """What the estimator is told about the installation before it sees a scene."""

    array: RISArray = RISArray()
    field_of_view: FieldOfView = FieldOfView()
    num_antennas: AtLeast1 = 16
    """M, antennas of the base station."""
    max_sources: AtLeast1 = 5
    """K_max, the most sources reported."""
