"""The surface, the region it watches, and the scenario both belong to (docs/conventions.md)."""

import dataclasses
import math
from typing import Literal

import numpy as np

Wavefront = Literal["spherical", "fresnel"]
Amplitude = Literal["uniform", "spherical"]


@dataclasses.dataclass(frozen=True)
class RISArray:
    """A planar surface in the y-z plane, boresight +x, centre at the origin.

    Element n = iv * num_horizontal + ih (horizontal index fastest) lies at
    p_n = (0, (ih - (num_horizontal-1)/2 + index_offset) d, (iv - (num_vertical-1)/2 + index_offset) d).
    """

    num_horizontal: int = 12
    """Elements along y."""
    num_vertical: int = 12
    """Elements along z."""
    wavelength_m: float = 0.3
    """Carrier wavelength, metres (0.3 m is 1 GHz)."""
    spacing_m: float = 0.15
    """Distance between neighbouring elements, metres."""
    wavefront: Wavefront = "spherical"
    """"spherical" uses exact distances, "fresnel" the quadratic approximation (parity with the predecessor)."""
    index_offset: float = 0.0
    """Shift of both element indices, in elements. The predecessor's indices -6..5 are an offset of -0.5."""
    amplitude: Amplitude = "uniform"
    """"spherical": the field at an element falls as 1 / distance; "uniform": the same path loss to all elements."""
    element_exponent: float = 0.0
    """e of the elements' field pattern cos^e of the angle against their normal; 0 is isotropic."""

    def __post_init__(self) -> None:
        for field in ("num_horizontal", "num_vertical", "wavelength_m", "spacing_m"):
            if not getattr(self, field) > 0:
                raise ValueError(f"RISArray.{field}: expected a positive number, got {getattr(self, field)!r}")
        if self.wavefront not in ("spherical", "fresnel"):
            raise ValueError(f'RISArray.wavefront: expected "spherical" or "fresnel", got {self.wavefront!r}')
        if self.amplitude not in ("uniform", "spherical"):
            raise ValueError(f'RISArray.amplitude: expected "uniform" or "spherical", got {self.amplitude!r}')
        if not 0 <= self.element_exponent <= 8:
            raise ValueError(f"RISArray.element_exponent: expected 0 to 8, got {self.element_exponent!r}")

    @property
    def num_elements(self) -> int:
        """N."""
        return self.num_horizontal * self.num_vertical

    @property
    def has_unit_modulus(self) -> bool:
        """Whether all entries of a steering vector have modulus 1 / sqrt(N), and the vector unit norm."""
        return self.amplitude == "uniform" and self.element_exponent == 0.0

    @property
    def wavenumber(self) -> float:
        """k0 = 2 pi / lambda, radians a metre."""
        return 2.0 * math.pi / self.wavelength_m

    def element_positions_m(self) -> np.ndarray:
        """Element coordinates in the plane of the surface: float64 [N, 2], columns y and z, metres."""
        y = np.arange(self.num_horizontal) - (self.num_horizontal - 1) / 2 + self.index_offset
        z = np.arange(self.num_vertical) - (self.num_vertical - 1) / 2 + self.index_offset
        vertical, horizontal = np.meshgrid(z, y, indexing="ij")
        return self.spacing_m * np.stack([horizontal.ravel(), vertical.ravel()], axis=-1)


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


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What the estimator is told about the installation before it sees a scene."""

    array: RISArray = RISArray()
    field_of_view: FieldOfView = FieldOfView()
    num_antennas: int = 16
    """M, antennas of the base station."""
    max_sources: int = 5
    """K_max, the most sources reported."""
