"""Section of the report about a calibration: amplitude, phase and standard error of every element."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from models.physics.geometry import RISArray
from pipeline.calibrate.files import StoredCalibration, read_stored
from pipeline.figures import styles
from pipeline.figures.plots import VERMILION
from pipeline.report.parts import Plot, Section
from serving.client.calibration import read_calibration

_PHASES = "Phase"  # a cyclic colour scale


def surface(path: Path) -> Section:
    """The section with three maps of a calibration file."""
    described = read_calibration(path).about.get("surface", {})
    known = {field.name for field in dataclasses.fields(RISArray)}
    try:
        array = RISArray(**{name: value for name, value in described.items() if name in known})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: about.surface: expected a surface, got: {error}") from None
    stored = read_stored(path, array)
    response, dead = stored.element_response, int(stored.dead.sum())
    most = max(1.2, float(np.abs(response).max()))
    summary = f"{dead} of {response.size} elements are dead"
    maps: tuple[tuple[str, str, np.ndarray, dict[str, Any]], ...] = (
        ("amplitude", "Amplitude", np.abs(response), {"colorscale": "Cividis", "cmin": 0, "cmax": most}),
        ("phase", "Phase, rad", np.angle(response), {"colorscale": _PHASES, "cmin": -np.pi, "cmax": np.pi}),
        ("deviation", "Standard error", stored.element_response_std, {"colorscale": "Cividis", "cmin": 0}),
    )
    plots = []
    for name, title, values, look in maps:
        what, alive = title.partition(",")[0], values[~stored.dead]
        caption = f"{what} of the response of every element at its position. Crosses: dead elements; {summary}."
        alt = f"from {alive.min():.2f} to {alive.max():.2f}; {summary}" if alive.size else summary
        plots.append(Plot(f"surface-{name}", title, caption, alt, _map(stored, array, values, look)))
    return Section("surface", "Calibrated surface", plots)


def _map(stored: StoredCalibration, array: RISArray, values: np.ndarray, look: dict[str, Any]) -> go.Figure:
    """A map of values [N] at the positions of the working elements, with crosses at the dead ones."""
    size = float(np.clip(216.0 / np.sqrt(values.size), 4.0, 24.0))
    colours = {"color": styles.numbers(values[~stored.dead]), "colorbar": {"thickness": 12}, **look}
    crossed = {"symbol": "square-x", "color": "#EEEEEE", "line": {"color": VERMILION, "width": 2}}
    drawn = styles.drawing("y, m", "z, m", height=440)
    kinds = (("element", ~stored.dead, {"symbol": "square", **colours}), ("dead element", stored.dead, crossed))
    for name, which, marker in kinds:
        if which.any():
            place = [styles.numbers(column) for column in array.element_positions_m()[which].T]
            texts = [f"{name} {number}" for number in np.flatnonzero(which)]
            hover = "%{text}" + (": %{marker.color:.3f}" if marker is kinds[0][2] else "") + "<extra></extra>"
            shown = {"text": texts, "hovertemplate": hover, "marker": {"size": size, **marker}}
            drawn.add_trace(go.Scatter(x=place[0], y=place[1], name=name, mode="markers", **shown))
    drawn.update_layout(showlegend=bool(stored.dead.any()))
    drawn.update_yaxes(scaleanchor="x", constrain="domain")
    drawn.update_xaxes(constrain="domain")
    return drawn
