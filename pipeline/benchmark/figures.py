"""Figures of a benchmark: one for each metric, with one line for each estimator."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.benchmark.names import BLIND, KNOWN, ON_DEMAND
from pipeline.benchmark.rows import Row
from pipeline.benchmark.suites import Suite
from pipeline.figures import plots

METRICS = {
    "f1": "F1, standard gate",
    "precision": "precision, standard gate",
    "recall": "recall, standard gate",
    "median_error_m": "median position error, m",
    "rms_error_m": "RMS position error, m",
    "resolved": "share of scenes with all sources hit, strict gate",
    "seconds_a_scene": "seconds per scene",
}
"""Metrics with a figure: column of the results and label of the axis."""
_ON_LOGARITHMS = ("median_error_m", "seconds_a_scene")
_BLIND_COLOURS = (
    *(plots.BLUE, plots.ORANGE, plots.GREEN, plots.VERMILION),
    *("#CC79A7", "#56B4E9", "#882255", plots.GREY, "#B2A300"),
)
_ON_DEMAND_COLOURS = (plots.BLUE, plots.BLUE, "#BBBBBB")
_LOOKS = zip((*_BLIND_COLOURS, *_ON_DEMAND_COLOURS), "osv^D<>Pp*hx", strict=True)
_STYLES = dict(zip((*BLIND, *ON_DEMAND), _LOOKS, strict=True))
"""Colour and marker of each estimator; the variant that is given the number of sources is dashed."""


def _places(suite: Suite) -> dict[str, float]:
    """Position of each cell on the axis: its value, or its index if a cell has no value."""
    values = [cell.value for cell in suite.cells]
    return {
        cell.label: float(number if None in values or cell.value is None else cell.value)
        for number, cell in enumerate(suite.cells)
    }


def _draw(axes: Axes, rows: Sequence[Row], metric: str, places: dict[str, float], number: int) -> None:
    name = rows[0]["estimator"]
    seen = [row for row in rows if row[metric] is not None]
    if not seen:
        return
    x = [places[row["label"]] for row in seen]
    y = np.array([row[metric] for row in seen], float)
    colour, marker = _STYLES[name.removesuffix("_known")]
    line = "--" if name in KNOWN else "-"
    axes.plot(x, y, color=colour, marker=marker, ls=line, lw=1.5, ms=4, label=name, zorder=10.0 - 0.1 * number)
    if f"{metric}_low" in seen[0]:
        low, high = (np.array([row[f"{metric}_{end}"] for row in seen], float) for end in ("low", "high"))
        axes.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)


def plot_metric(suite: Suite, rows: Sequence[Row], metric: str) -> Figure:
    """Plots one metric of all estimators. The figure of the median error includes the median Cramer-Rao bound."""
    figure = plots.new_figure(8.0, 4.6)
    axes = figure.subplots()
    places = _places(suite)
    names = list(dict.fromkeys(row["estimator"] for row in rows))
    for number, name in enumerate(names):
        _draw(axes, [row for row in rows if row["estimator"] == name], metric, places, number)
    if metric == "median_error_m":
        bounds = {row["label"]: row["median_bound_all_m"] for row in rows if row["median_bound_all_m"] is not None}
        axes.plot([places[label] for label in bounds], list(bounds.values()), color="black", ls=":", label="CRB")
    plots.tidy(axes)
    if metric in _ON_LOGARITHMS:
        axes.set_yscale("log")
    if any(cell.value is None for cell in suite.cells):
        axes.set_xticks(list(places.values()), list(places), rotation=30, ha="right")
    axes.set(xlabel=suite.axis, ylabel=METRICS[metric])
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.set_title(f"{suite.name}, {max(row['scenes'] for row in rows)} scenes per point", fontweight="bold")
    return figure
