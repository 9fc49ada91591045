"""The surface, the field of view, and the scenario that holds both (docs/conventions.md)."""

import math
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from annotated_types import Interval

from models.checked import Ascending, AtLeast1, Positive, checked

Wavefront = Literal["spherical", "fresnel"]
Amplitude = Literal["uniform", "spherical"]

ElementExponent = Annotated[float, Interval(ge=0, le=8)]
_WIDEST_DEG = 85.0  # no element receives a source in the plane of the surface


def _tuples(given: Any) -> Any:
    """Lists and arrays as tuples."""
    return tuple(map(_tuples, given)) if isinstance(given, list | np.ndarray) else given


def _all_other(positions_m: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    if len(positions_m) < 2:
        raise ValueError(f"expected at least 2 pairs (y, z), got {len(positions_m)}")
    if len(set(positions_m)) < len(positions_m):
        raise ValueError("expected positions that all differ")
    return positions_m


Positions = Annotated[
    tuple[tuple[float, float], ...], pydantic.BeforeValidator(_tuples), pydantic.AfterValidator(_all_other)
]
_Angle = Annotated[float, Interval(ge=-_WIDEST_DEG, le=_WIDEST_DEG)]


@checked(frozen=True)
class RISArray:
    """A planar surface in the y-z plane, boresight +x, centre at the origin.

    Element n = iv * num_horizontal + ih (horizontal index fastest) lies at
    p_n = (0, (ih - (num_horizontal-1)/2 + index_offset) d, (iv - (num_vertical-1)/2 + index_offset) d),
    unless `positions_m` gives the positions.
    """

    num_horizontal: AtLeast1 = 12
    """Number of elements along y."""
    num_vertical: AtLeast1 = 12
    """Number of elements along z."""
    wavelength_m: Positive = 0.3
    """Carrier wavelength, metres (0.3 m at 1 GHz)."""
    spacing_m: Positive = None  # type: ignore[assignment]
    """d, distance between neighbouring elements, metres; default half a wavelength."""
    wavefront: Wavefront = "spherical"
    """"spherical" uses exact distances, "fresnel" their quadratic approximation (as the predecessor did)."""
    index_offset: float = 0.0
    """Shift of both element indices, in elements; -0.5 gives the predecessor's indices -6..5."""
    amplitude: Amplitude = "uniform"
    """"spherical": the field at an element decays as 1 / distance; "uniform": all elements have the same path loss."""
    element_exponent: ElementExponent = 0.0
    """e of the field pattern cos^e(angle from the normal) of an element; 0 is isotropic."""
    positions_m: Positions | None = None
    """(y, z) of every element, metres from the origin, instead of a lattice. num_horizontal is then the number of
    elements and num_vertical is 1."""

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
        """N, number of elements."""
        return self.num_horizontal * self.num_vertical

    @property
    def has_unit_modulus(self) -> bool:
        """True if every entry of a steering vector has modulus 1 / sqrt(N), so that its norm is one."""
        return self.amplitude == "uniform" and self.element_exponent == 0.0

    @property
    def resolution(self) -> tuple[float, float, float]:
        """Resolution in sin(azimuth), sin(elevation) and inverse range (1/m).

        The beam widths lambda / D along each axis, and lambda / D^2 of the larger aperture D for the curvature of the
        wavefront.
        """
        width_m, height_m = self.aperture_m
        depth = self.wavelength_m / max(width_m, height_m) ** 2
        return (self.wavelength_m / width_m, self.wavelength_m / height_m, depth)

    @property
    def relative_resolution(self) -> np.ndarray:
        """`resolution` divided by that of the default surface, [3] float64. Scales steps and margins."""
        return np.array(self.resolution) / np.array(RISArray().resolution)

    @property
    def wavenumber(self) -> float:
        """k0 = 2 pi / lambda, rad/m."""
        return 2.0 * math.pi / self.wavelength_m

    def element_positions_m(self) -> np.ndarray:
        """Element positions in the plane of the surface, [N, 2] float64: y and z, metres."""
        if self.positions_m is not None:
            return np.array(self.positions_m)
        y = np.arange(self.num_horizontal) - (self.num_horizontal - 1) / 2 + self.index_offset
        z = np.arange(self.num_vertical) - (self.num_vertical - 1) / 2 + self.index_offset
        vertical, horizontal = np.meshgrid(z, y, indexing="ij")
        return self.spacing_m * np.stack([horizontal.ravel(), vertical.ravel()], axis=-1)

    @property
    def lattice_shape(self) -> tuple[int, int]:
        """Number of points along y and z of the smallest lattice of spacing d that spans the elements."""
        if self.positions_m is None:
            return (self.num_horizontal, self.num_vertical)
        places = np.rint(np.ptp(self.element_positions_m(), axis=0) / self.spacing_m).astype(int) + 1
        return (int(places[0]), int(places[1]))

    @property
    def aperture_m(self) -> tuple[float, float]:
        """Extent along y and z, metres; each element has width d."""
        horizontal, vertical = self.lattice_shape
        return (horizontal * self.spacing_m, vertical * self.spacing_m)


@checked(frozen=True)
class FieldOfView:
    """The region in which sources are simulated, searched and decided on. Degrees and metres."""

    azimuth_deg: Annotated[tuple[_Angle, _Angle], Ascending] = (-60.0, 60.0)
    elevation_deg: Annotated[tuple[_Angle, _Angle], Ascending] = (-30.0, 30.0)
    range_m: Annotated[tuple[Positive, Positive], Ascending] = (0.5, 10.0)

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
        """Inverse range limits, 1/m, ascending."""
        return (1.0 / self.range_m[1], 1.0 / self.range_m[0])

    @property
    def typical_range_m(self) -> float:
        """Geometric mean of the range limits, metres."""
        return math.sqrt(self.range_m[0] * self.range_m[1])

    @property
    def gate_angle_deg(self) -> float:
        """Largest error of a hit in azimuth and elevation: 5 degrees, at most 1/12 of the narrower span."""
        return min(5.0, min(high - low for low, high in (self.azimuth_deg, self.elevation_deg)) / 12.0)

    @property
    def gate_range_m(self) -> float:
        """Largest error of a hit in range: 1 m, at most 2/19 of the span (1 m for 0.5 to 10 m)."""
        return min(1.0, (self.range_m[1] - self.range_m[0]) / 9.5)


@checked(frozen=True)
class Scenario:
    """What the estimator knows of the installation before any measurement."""

    array: RISArray = RISArray()
    field_of_view: FieldOfView = FieldOfView()
    num_antennas: AtLeast1 = 16
    """M, number of base-station antennas."""
    max_sources: AtLeast1 = 5
    """K_max, largest number of reported sources."""
