"""The page's figures without their data: what stays, how the rest looks, and axes that do not move with it.

Curves that the page fills are told apart by `meta`: trail, true, hit, miss, found (where no truth is known), and
hit-error and so on for their error ellipsoids.
"""

import json
import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from models.physics.geometry import FieldOfView, Scenario
from pipeline.evaluation.figures.plots import BLUE, VERMILION
from pipeline.reporting import space, styles

_TRAIL = ("trail", "a moment ago", "#8FA3B0", "circle", 3)
_TRUE = ("true", "true source", styles.BLACK, "circle-open", 9)
_FOUND = (
    ("found", "source", BLUE, "circle", 5),
    ("hit", "within the gate", BLUE, "circle", 5),
    ("miss", "outside the gate", VERMILION, "diamond", 6),
)
_MARGIN = 1.04
_FILLING = 1.15  # how much of the picture the scene takes, against Plotly's own choice


def drawings(scenario: Scenario) -> dict[str, Any]:
    """space: the scene in 3-D. flat: from above and from the side. spectrum: by range and by elevation. sphere: what
    ellipsoids are made of, points and the triangles between them."""
    points, triangles = space.unit_sphere()
    figures = {"space": _space(scenario), "flat": _flat(scenario), "spectrum": _spectrum(scenario)}
    return {
        **{name: json.loads(drawn.to_json()) for name, drawn in figures.items()},
        "sphere": {"points": np.round(points, 4).tolist(), **triangles},
        "probability": space.PROBABILITY,
        "most_sources": scenario.max_sources,
    }


def extent_m(view: FieldOfView) -> np.ndarray:
    """Limits [3, 2] of x, y and z in which the field of view lies, the surface included, metres, with a margin."""
    far = _MARGIN * view.range_m[1]
    across = [far * math.sin(limit) for limit in view.azimuth]
    up = [far * math.sin(limit) for limit in view.elevation]
    return np.array([[0.0, far], [min(across[0], 0.0), max(across[1], 0.0)], [min(up[0], 0.0), max(up[1], 0.0)]])


def _space(scenario: Scenario) -> go.Figure:
    drawn = styles.drawing("", "", height=560)
    drawn.add_trace(space.surface(scenario.array))
    drawn.add_trace(space.edges(scenario.field_of_view))
    for name, text, colour, symbol, size in (_TRAIL, _TRUE, *_FOUND):
        look = {"symbol": symbol, "size": size, "color": colour}
        drawn.add_trace(
            go.Scatter3d(x=[], y=[], z=[], meta=name, name=text, mode="markers", marker=look, hovertemplate=space.HOVER)
        )
    for name, _, colour, _, _ in _FOUND:
        look = space.ellipsoid_look(colour)
        drawn.add_trace(go.Mesh3d(x=[], y=[], z=[], i=[], j=[], k=[], meta=f"{name}-error", **look))
    space.frame(drawn)
    limits = extent_m(scenario.field_of_view)
    lengths_m = np.ptp(limits, axis=1)
    ratio = _FILLING * lengths_m / np.cbrt(lengths_m.prod())
    drawn.update_layout(
        uirevision="kept",
        showlegend=False,
        scene={
            "aspectmode": "manual",
            "aspectratio": dict(zip("xyz", ratio.tolist(), strict=True)),
            **{f"{axis}axis": {"range": limits[number].tolist()} for number, axis in enumerate("xyz")},
        },
    )
    return drawn


def _flat(scenario: Scenario) -> go.Figure:
    """From above, x to the right and y up the page; from the side, x and z. One scale for all."""
    limits = extent_m(scenario.field_of_view)
    edges, plate = space.edges(scenario.field_of_view), space.surface(scenario.array)
    heights = np.ptp(limits[1:], axis=1)
    drawn = styles.drawing("", "")
    drawn = make_subplots(
        rows=2, cols=1, row_heights=(heights / heights.sum()).tolist(), vertical_spacing=0.12, figure=drawn
    )
    for row, (across, title) in enumerate((("y", "y, m, from above"), ("z", "z, m, from the side")), start=1):
        for still, look in (
            (edges, {"color": edges.line.color, "width": 1.5}),
            (plate, {"color": styles.BLACK, "width": 5}),
        ):
            drawn.add_trace(
                go.Scatter(x=still.x, y=getattr(still, across), mode="lines", line=look, hoverinfo="skip"),
                row=row,
                col=1,
            )
        for name, _, colour, _, _ in _FOUND:
            look = {"color": colour, "width": 1.5}
            drawn.add_trace(
                go.Scatter(x=[], y=[], meta=f"{name}-error-{across}", mode="lines", line=look, hoverinfo="skip"),
                row=row,
                col=1,
            )
        for name, _, colour, symbol, size in (_TRAIL, _TRUE, *_FOUND):
            bold = 0 if name == "trail" else 2
            look = {
                "symbol": symbol,
                "size": size + 2 * bold,
                "color": colour,
                "line": {"width": bold, "color": colour},
            }
            drawn.add_trace(
                go.Scatter(x=[], y=[], meta=f"{name}-{across}", mode="markers", marker=look, hovertemplate="%{text}"),
                row=row,
                col=1,
            )
        drawn.update_xaxes(range=limits[0].tolist(), title="x, m", gridcolor="#DDDDDD", zeroline=False, row=row, col=1)
        drawn.update_yaxes(
            range=limits["xyz".index(across)].tolist(),
            title=title,
            gridcolor="#DDDDDD",
            zeroline=False,
            scaleanchor="x" if row == 1 else "x2",
            row=row,
            col=1,
        )
    drawn.update_layout(uirevision="kept", showlegend=False, height=760, margin={"l": 62, "r": 14, "t": 16, "b": 54})
    return drawn


def _spectrum(scenario: Scenario) -> go.Figure:
    view = scenario.field_of_view
    drawn = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06, figure=styles.drawing("", ""))
    scale = {"colorscale": "Cividis", "zmin": -20.0, "zmax": 0.0}
    bar = {"title": {"text": "dB"}, "thickness": 12, "len": 1.0, "outlinewidth": 0}
    for row, name in ((1, "range"), (2, "elevation")):
        hover = f"azimuth %{{x:.1f}}°, {name} %{{y:.3g}}, %{{z:.1f}} dB<extra></extra>"
        drawn.add_trace(
            go.Heatmap(x=[], y=[], z=[], meta=name, **scale, showscale=row == 1, colorbar=bar, hovertemplate=hover),
            row=row,
            col=1,
        )
        for meta, colour, symbol, size in (("true", "white", "circle-open", 15), ("found", VERMILION, "x-thin", 9)):
            look = {"symbol": symbol, "size": size, "color": colour, "line": {"width": 2.2, "color": colour}}
            drawn.add_trace(
                go.Scatter(x=[], y=[], meta=f"{meta}-{name}", mode="markers", marker=look, hoverinfo="skip"),
                row=row,
                col=1,
            )
    decades = [digit * 10.0**decade for decade in range(-2, 4) for digit in (1, 2, 5)]
    ticks = [value for value in decades if view.range_m[0] <= value <= view.range_m[1]]
    drawn.update_xaxes(range=view.azimuth_deg, nticks=9)
    drawn.update_xaxes(title="azimuth, degrees", row=2, col=1)
    logs = [math.log10(limit) for limit in view.range_m]
    drawn.update_yaxes(
        type="log", range=logs, tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks], title="range, m", row=1, col=1
    )
    drawn.update_yaxes(range=view.elevation_deg, nticks=8, title="elevation, degrees", row=2, col=1)
    drawn.update_layout(uirevision="kept", showlegend=False, height=480, margin={"l": 62, "r": 8, "t": 16, "b": 54})
    return drawn
