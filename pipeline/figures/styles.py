"""Styles of Plotly figures: Okabe-Ito colours, and a different dash, marker and hatching for each curve."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from pipeline.figures.plots import BLUE, GREEN, ORANGE, VERMILION, interval_bars

Numbers = np.ndarray | Sequence[float | None]
BLACK = "#222222"
_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, "#CC79A7", "#56B4E9", BLACK)
_DASHES = ("solid", "dash", "dashdot", "longdash", "longdashdot", "dot", "solid")
_MARKERS = ("circle", "square", "triangle-up", "diamond", "cross", "x", "star")
_PATTERNS = ("", "/", ".", "x", "-", "|", "+")
_MOST_POINTS = 400
_DIGITS = 5
_GRID = {
    "gridcolor": "#DDDDDD",
    "zeroline": False,
    "automargin": True,
    "exponentformat": "none",
    "ticklabelstandoff": 5,  # keeps the first labels of both axes apart
}


LOG: dict[str, Any] = {
    "type": "log",
    "tickvals": [digit * 10.0**decade for decade in range(-5, 4) for digit in (1, 2, 5)],
    "ticktext": [f"{digit * 10.0**decade:g}" for decade in range(-5, 4) for digit in (1, 2, 5)],
}
"""A logarithmic axis in metres, with ticks at 1, 2 and 5 of every decade."""


def colour(number: int) -> str:
    """Colour of curve `number`."""
    return _COLOURS[number % len(_COLOURS)]


def line(number: int) -> dict[str, Any]:
    """Colour, dash and width of the line of curve `number`."""
    return {"color": colour(number), "dash": _DASHES[number % len(_DASHES)], "width": 2.2}


def marker(number: int) -> dict[str, Any]:
    """Colour, shape and size of the markers of curve `number`."""
    return {"color": colour(number), "symbol": _MARKERS[number % len(_MARKERS)], "size": 9}


def bars(number: int) -> dict[str, Any]:
    """Colour and hatching of bar series `number`."""
    shape = _PATTERNS[number % len(_PATTERNS)]
    pattern = {"shape": shape, "fillmode": "overlay", "fgcolor": "white", "size": 7, "solidity": 0.2}
    return {"color": colour(number), "pattern": pattern}


def numbers(values: Numbers) -> list[float | None]:
    """Values [n] for a web page: rounded to five digits, None if not finite."""
    found = np.asarray(values, float).ravel()
    return [float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None for value in found]


def intervals(values: Numbers, bounds: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    """Plotly error bars for values [n] with intervals [n, 2]."""
    below, above = interval_bars(np.asarray(values, float), np.asarray(bounds, float))
    return {
        "type": "data",
        "symmetric": False,
        "array": numbers(above),
        "arrayminus": numbers(below),
        "thickness": 1.2,
        "width": 4,
    }


def thinned(*columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Thins columns [n] to at most 400 evenly spaced rows, the first and the last included."""
    count = columns[0].size
    kept = np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).round().astype(int))
    return tuple(column[kept] for column in columns)


def drawing(x: str, y: str, *, height: int = 420, **settings: Any) -> go.Figure:
    """Creates an empty plot with titles of the axes and a height in pixels; the width follows the page.

    settings: further layout settings; `xaxis` and `yaxis` extend the common axis style.
    """
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 62, "r": 14, "t": 16, "b": 54},
        font={"family": "system-ui, sans-serif", "size": 14, "color": BLACK},
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        hoverlabel={"font": {"size": 13}},
        paper_bgcolor="white",
        plot_bgcolor="white",
    )
    figure.update_xaxes(**_GRID, title={"text": x, "standoff": 8})
    figure.update_yaxes(**_GRID, title={"text": y, "standoff": 8})
    figure.update_layout(**settings)
    return figure
