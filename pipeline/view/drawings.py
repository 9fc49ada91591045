"""Static data of the page's pictures: limits of axes, the field of view, the surface, colours."""

from typing import Any

import numpy as np
from plotly.colors import sample_colorscale

from models.physics.geometry import FieldOfView, Scenario
from pipeline.figures import space

_MARGIN = 1.04
_COLOURS = 64


def drawings(scenario: Scenario) -> dict[str, Any]:
    """Static data for the pictures of one installation.

    space: limits of the axes x, y and z; edges of the field of view, as points, with None between lines; corners of the
    surface; all in metres. spectrum: limits of its axes, and colours from low to high. probability: probability that a
    source lies within its ellipsoid. most_sources: largest number of sources in a scene.
    """
    view = scenario.field_of_view
    edges, surface = space.edges(view), space.surface(scenario.array)
    points = zip(edges.x, edges.y, edges.z, strict=True)
    return {
        "space": {
            "limits_m": extent_m(view).tolist(),
            "edges_m": [None if None in point else point for point in points],
            "surface_m": list(zip(surface.x, surface.y, surface.z, strict=True)),
        },
        "spectrum": {
            **{name: getattr(view, name) for name in ("azimuth_deg", "elevation_deg", "range_m")},
            "colours": sample_colorscale("Cividis", _COLOURS),
        },
        "probability": space.PROBABILITY,
        "most_sources": scenario.max_sources,
    }


def extent_m(view: FieldOfView) -> np.ndarray:
    """Limits [3, 2] of x, y and z, in metres, that contain the field of view and the surface, with a margin."""
    sines = np.sin([view.azimuth, view.elevation])
    return _MARGIN * view.range_m[1] * np.array([[0.0, 1.0], *np.clip(sines, [-1.0, 0.0], [0.0, 1.0])])
