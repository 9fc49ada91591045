"""A hall around the surface: image sources of its walls, with Fresnel coefficients.

A path that is reflected by walls equals a straight path from an image of its source (Allen and Berkley, "Image method
for efficiently simulating small-room acoustics", 1979). The straight path meets all walls normal to an axis at the same
angle, so all reflections off walls of that axis have the same coefficient. Waves are vertically polarised: TE on side,
near and far walls, TM on floor and ceiling. The phase convention is exp(-j k0 d) over distance and exp(+j omega t) over
time.
"""

import itertools
import math
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Interval

from models.checked import AtLeast1, Limits, NotNegative, Ordered, Positive, checked
from models.physics.geometry import FieldOfView

_SPEED_OF_LIGHT_M_S = 299_792_458.0
_VACUUM_PERMITTIVITY_F_M = 8.8541878128e-12
_VERTICAL_AXIS = 2

Walls = tuple[Annotated[float, Interval(le=0)] | None, Positive | None]


@checked(frozen=True)
class Hall:
    """A box with walls of one material. None instead of a wall leaves that side open."""

    x_m: Walls = (None, 22.0)
    """Near and far wall, metres; the surface is at x = 0 and faces +x."""
    y_m: Walls = (-12.0, 12.0)
    """Side walls, metres."""
    z_m: Walls = (-6.0, 6.0)
    """Floor and ceiling, metres above the centre of the surface."""
    relative_permittivity: Annotated[float, Interval(ge=1)] = 5.24
    """Relative permittivity of the walls; 5.24 is concrete (ITU-R P.2040)."""
    conductivity_s_m: NotNegative = 0.046
    """Conductivity of the walls, siemens per metre; 0.046 is concrete at 1 GHz."""

    @property
    def limits_m(self) -> tuple[Walls, Walls, Walls]:
        """The walls by axis: x, y, z; metres."""
        return (self.x_m, self.y_m, self.z_m)

    def holds(self, points_m: np.ndarray) -> np.ndarray:
        """Returns which of the points [..., 3], metres, are inside the hall: [...] bool."""
        low = np.array([-math.inf if limits[0] is None else limits[0] for limits in self.limits_m])
        high = np.array([math.inf if limits[1] is None else limits[1] for limits in self.limits_m])
        return np.all((points_m > low) & (points_m < high), axis=-1)

    def holds_view(self, view: FieldOfView) -> bool:
        """Whether the whole field of view is inside the hall."""
        reach = [(1.0, 1.0), *(tuple(np.sin(limits)) for limits in (view.azimuth, view.elevation))]
        corners = view.range_m[1] * np.array(list(itertools.product(*reach)))
        return bool(np.all(self.holds(corners)))

    def permittivity(self, wavelength_m: float) -> complex:
        """Returns the complex relative permittivity, eps_r - j sigma / (omega eps_0), at a wavelength in metres."""
        omega = 2.0 * math.pi * _SPEED_OF_LIGHT_M_S / wavelength_m
        return self.relative_permittivity - 1j * self.conductivity_s_m / (omega * _VACUUM_PERMITTIVITY_F_M)


class Fresnel(NamedTuple):
    """Reflection coefficients of the field perpendicular to the plane of incidence (te) and in it (tm), complex."""

    te: np.ndarray
    tm: np.ndarray


def fresnel(cos_angle: np.ndarray, permittivity: complex) -> Fresnel:
    """Returns the reflection coefficients at the boundary from vacuum to a half space of this complex permittivity.

    The angle, with cosines 0 to 1 of any shape, is between ray and normal. tm refers to the electric field, so te = -tm
    at normal incidence.
    """
    inside = np.sqrt(permittivity - (1.0 - np.asarray(cos_angle) ** 2) + 0j)
    te = (cos_angle - inside) / (cos_angle + inside)
    tm = (permittivity * cos_angle - inside) / (permittivity * cos_angle + inside)
    return Fresnel(te, tm)


class Images(NamedTuple):
    """Apparent origins of the P paths from each of K points; the first path is the direct one.

    points_m: [K, P, 3] float64, metres.
    coefficients: [K, P] complex128, the product of the Fresnel coefficients of the reflections; one for the direct
      path, zero if an image is behind the surface.
    """

    points_m: np.ndarray
    coefficients: np.ndarray


def images(hall: Hall, points_m: np.ndarray, max_order: int, wavelength_m: float) -> Images:
    """Returns the images of points inside the hall, [K, 3] float64, metres, as seen from the surface at the origin.

    They have at most `max_order` reflections, 0 to 2, by rising number. The wavelength, metres, determines the loss of
    the walls.
    """
    points, bounces = [], []
    by_axis = [_axis_images(limits) for limits in hall.limits_m]
    for sides in sorted(itertools.product(*by_axis), key=lambda sides: sum(side.bounces for side in sides)):
        if sum(side.bounces for side in sides) <= max_order:
            points.append(
                np.stack([side.sign * points_m[:, axis] + side.shift_m for axis, side in enumerate(sides)], -1)
            )
            bounces.append([side.bounces for side in sides])
    where = np.stack(points, axis=1)
    cosines = np.abs(where) / np.linalg.norm(where, axis=-1, keepdims=True)
    te, tm = fresnel(cosines, hall.permittivity(wavelength_m))
    of_axis = np.where(np.arange(3) == _VERTICAL_AXIS, tm, te)
    coefficients = np.prod(of_axis ** np.array(bounces), axis=-1)
    return Images(where, np.where(where[..., 0] > 0, coefficients, 0.0))


class _AxisImage(NamedTuple):
    """The image sign * q + shift_m of a coordinate q, after a number of bounces (reflections)."""

    sign: float
    shift_m: float
    bounces: int


def _axis_images(limits: Walls) -> list[_AxisImage]:
    """Returns the images of up to two reflections off the walls of one axis; the second is off the other wall."""
    low, high = limits
    found = [_AxisImage(1.0, 0.0, 0)]
    found += [_AxisImage(-1.0, 2.0 * wall, 1) for wall in (low, high) if wall is not None]
    if low is not None and high is not None:
        found += [_AxisImage(1.0, shift, 2) for shift in (2.0 * (high - low), 2.0 * (low - high))]
    return found


@checked(frozen=True)
class BaseStation:
    """A planar array of antennas half a wavelength apart in a plane x = const, and the limits of its position."""

    rows: AtLeast1 = 4
    """Number of antennas along z."""
    columns: AtLeast1 = 4
    """Number of antennas along y."""
    x_m: Annotated[tuple[Positive, Positive], Ordered] = (8.0, 20.0)
    """Limits of the uniform draw of its centre, metres; likewise `y_m` and `z_m`."""
    y_m: Limits = (-9.0, 9.0)
    z_m: Limits = (-3.0, 3.0)

    @property
    def corners_m(self) -> np.ndarray:
        """Corners of the box in which its centre is drawn, [8, 3] float64, metres."""
        return np.array(list(itertools.product(self.x_m, self.y_m, self.z_m)))

    def draw_antennas_m(self, rng: np.random.Generator, wavelength_m: float) -> np.ndarray:
        """Draws the antenna positions of one scene, [rows columns, 3] float64, metres; columns fastest."""
        centre = np.array([rng.uniform(*limits) for limits in (self.x_m, self.y_m, self.z_m)])
        z, y = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (self.rows, self.columns)), indexing="ij")
        return centre + wavelength_m / 2 * np.stack([np.zeros(y.size), y.ravel(), z.ravel()], axis=-1)
