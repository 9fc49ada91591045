"""The surface of a calibration: amplitude, phase and standard error of every element, and which are dead."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from models.physics.geometry import RISArray
from pipeline.calibration.files import StoredCalibration, read_stored
from pipeline.evaluation.figures.plots import VERMILION
from pipeline.reporting import styles
from pipeline.reporting.parts import Plot, Section
from serving.client.calibration import read_calibration

_PHASES = "Phase"  # a scale that closes on itself


def surface(path: Path) -> Section:
    """Three maps of a calibration file.

    Raises:
      ValueError: it is none, or does not say of what surface it is.
    """
    told = read_calibration(path).about.get("surface", {})
    known = {field.name for field in dataclasses.fields(RISArray)}
    try:
        array = RISArray(**{name: value for name, value in told.items() if name in known})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: about.surface: expected a surface, got: {error}") from None
    stored = read_stored(path, array)
    response, dead = stored.element_response, int(stored.dead.sum())
    most = max(1.2, float(np.abs(response).max()))
    said = f"{dead} of {response.size} elements are dead"
    maps: tuple[tuple[str, str, np.ndarray, dict[str, Any]], ...] = (
        ("amplitude", "Amplitude", np.abs(response), {"colorscale": "Cividis", "cmin": 0, "cmax": most}),
        ("phase", "Phase, rad", np.angle(response), {"colorscale": _PHASES, "cmin": -np.pi, "cmax": np.pi}),
        ("deviation", "Standard error", stored.element_response_std, {"colorscale": "Cividis", "cmin": 0}),
    )
    return Section("surface", "Surface as calibrated", [_plot(stored, array, *one, said) for one in maps])


def _plot(
    stored: StoredCalibration,
    array: RISArray,
    name: str,
    title: str,
    values: np.ndarray,
    look: dict[str, Any],
    said: str,
) -> Plot:
    what, alive = title.partition(",")[0], values[~stored.dead]
    return Plot(
        f"surface-{name}",
        title,
        f"{what} of every element's response at its place; a cross is a dead one: {said}.",
        f"from {alive.min():.2f} to {alive.max():.2f}; {said}" if alive.size else said,
        _map(stored, array, values, look),
    )


def _map(stored: StoredCalibration, array: RISArray, values: np.ndarray, look: dict[str, Any]) -> go.Figure:
    """Values [N] at the places of the elements."""
    places = array.element_positions_m()
    size = float(np.clip(300.0 / np.sqrt(values.size), 4.0, 26.0))
    square = {"symbol": "square", "size": size, "color": styles.numbers(values), "colorbar": {"thickness": 12}, **look}
    drawn = styles.drawing("y, m", "z, m", height=440)
    alive = go.Scatter(
        x=styles.numbers(places[:, 0]),
        y=styles.numbers(places[:, 1]),
        mode="markers",
        marker=square,
        name="element",
        text=[f"element {number}" for number in range(values.size)],
        hovertemplate="%{text}: %{marker.color:.3f}<extra></extra>",
        showlegend=False,
    )
    drawn.add_trace(alive)
    if stored.dead.any():
        crossed = {"symbol": "x-thin", "size": 0.6 * size, "line": {"color": VERMILION, "width": 3}}
        at = {"x": styles.numbers(places[stored.dead, 0]), "y": styles.numbers(places[stored.dead, 1])}
        drawn.add_trace(go.Scatter(**at, mode="markers", marker=crossed, name="dead", hoverinfo="skip"))
    drawn.update_yaxes(scaleanchor="x", constrain="domain")
    drawn.update_xaxes(constrain="domain")
    return drawn
