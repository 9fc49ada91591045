"""Parts of 3-D plots of scenes: axes in metres with equal scales, surface, field of view, error ellipsoids."""

import itertools
from typing import Any

import numpy as np
import plotly.graph_objects as go
from scipy import stats

from models.physics.geometry import FieldOfView, RISArray
from pipeline.figures import styles

PROBABILITY = 0.9
"""Probability that a source lies inside its error ellipsoid."""
HOVER = "%{text}<br>x %{x:.2f}, y %{y:.2f}, z %{z:.2f} m"
"""Plotly hover template of a marker with a text."""
_AROUND, _UP = 16, 9  # points of an ellipsoid in longitude and latitude
_ARC = 13  # points of an arc of the field of view


def frame(drawn: go.Figure) -> None:
    """Sets equal scales along x, y and z, and a camera behind the surface."""
    axis = {"backgroundcolor": "#F7F8F9", "gridcolor": "#DDDDDD", "showbackground": True, "zeroline": False}
    drawn.update_layout(
        margin={"l": 0, "r": 0, "t": 8, "b": 0},
        scene={
            **{f"{name}axis": {**axis, "title": {"text": f"{name}, m"}} for name in "xyz"},
            "aspectmode": "data",
            "camera": {"eye": {"x": -1.35, "y": -1.8, "z": 0.95}, "center": {"x": 0, "y": 0, "z": -0.12}},
            "dragmode": "orbit",
        },
    )


def xyz(points: np.ndarray) -> dict[str, list[float | None]]:
    """Coordinates of points [n, 3] as keyword arguments x, y and z of a Plotly trace."""
    return {name: styles.numbers(points[:, axis]) for axis, name in enumerate("xyz")}


def surface(array: RISArray) -> go.Mesh3d:
    """The aperture of the surface as a rectangle in the y-z plane."""
    width_m, height_m = array.aperture_m
    corners = np.array([[0.0, y * width_m / 2, z * height_m / 2] for y, z in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    look = {"color": styles.BLACK, "opacity": 0.85, "name": "surface"}
    return go.Mesh3d(**xyz(corners), i=[0, 0], j=[1, 2], k=[2, 3], hoverinfo="name", **look)


def edges(field: FieldOfView) -> go.Scatter3d:
    """Edges of the field of view: four rays, and arcs at the shortest and the longest range."""
    gap = np.full((1, 3), np.nan)
    azimuth, elevation = np.linspace(*field.azimuth, _ARC), np.linspace(*field.elevation, _ARC)
    rays = [_places(*corner, np.array(field.range_m)) for corner in itertools.product(field.azimuth, field.elevation)]
    arcs = [_places(azimuth, angle, far) for angle, far in itertools.product(field.elevation, field.range_m)]
    arcs += [_places(angle, elevation, far) for angle, far in itertools.product(field.azimuth, field.range_m)]
    points = np.concatenate([part for edge in (*rays, *arcs) for part in (edge, gap)])
    look = {"color": "#A9B2BA", "width": 2}
    return go.Scatter3d(
        **xyz(points), name="field of view", mode="lines", line=look, hoverinfo="skip", showlegend=False
    )


def _places(azimuth: np.ndarray | float, elevation: np.ndarray | float, range_m: np.ndarray | float) -> np.ndarray:
    """Converts spherical coordinates in radians and metres to points [n, 3] in metres."""
    azimuth, elevation, range_m = np.broadcast_arrays(azimuth, elevation, range_m)
    level = np.cos(elevation)
    return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], axis=-1) * range_m[:, None]


def semi_axes_m(covariance_m2: np.ndarray) -> np.ndarray | None:
    """Semi-axes of an error ellipsoid with covariance C [3, 3]; None if C is not finite.

    The columns of the result A [3, 3], in metres, map the unit sphere to {q: (q - centre)^T C^-1 (q - centre) = c}, by
    the map q = centre + A u. The source lies inside with `PROBABILITY`.
    """
    if not np.isfinite(covariance_m2).all():
        return None
    variances, axes = np.linalg.eigh(covariance_m2)
    return axes * np.sqrt(np.maximum(variances, 0.0) * stats.chi2.ppf(PROBABILITY, df=3))


def unit_sphere() -> tuple[np.ndarray, dict[str, list[int]]]:
    """A mesh of the unit sphere: points [n, 3], and the corners i, j, k of its triangles."""
    around, up = np.meshgrid(np.linspace(0, 2 * np.pi, _AROUND + 1)[:-1], np.linspace(-np.pi / 2, np.pi / 2, _UP))
    points = _places(around.ravel(), up.ravel(), np.ones(around.size))
    cells = [(row * _AROUND, column) for row in range(_UP - 1) for column in range(_AROUND)]
    squares = [(row + column, row + (column + 1) % _AROUND) for row, column in cells]
    return points, {
        "i": [corner for one, other in squares for corner in (one, other)],
        "j": [corner for one, other in squares for corner in (other, other + _AROUND)],
        "k": [one + _AROUND for one, _ in squares for _ in range(2)],
    }


def ellipsoid_look(colour: str) -> dict[str, Any]:
    """Plotly style of error ellipsoids of a colour."""
    return {"color": colour, "opacity": 0.25, "hoverinfo": "skip", "showlegend": False, "name": "error ellipsoid"}
