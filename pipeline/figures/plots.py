"""Figures of an evaluation, one function for each. The Okabe-Ito colours suit colour-blind readers."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from pipeline.common.records import replacing
from pipeline.metrics.curves import error_distribution
from pipeline.metrics.evaluation import Evaluation, bin_index, bin_label, whole_edges

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6E6E6E"
_SNR_COLOURS = ("#440154", "#3B528B", "#21918C", "#5EC962", "#D9B50F", "#E76F51", "#9D9D9D")


def new_figure(width: float, height: float) -> Figure:
    """Creates an empty figure of a size in inches. It uses the Agg backend: no display, no global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes) -> None:
    """Draws a light grid behind the data and removes the upper and right border."""
    axes.grid(True, color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def interval_bars(values: npt.ArrayLike, intervals: npt.ArrayLike) -> np.ndarray:
    """Lengths of error bars below and above each value, [2, n], from values [n] and the ends of intervals [n, 2]."""
    middle, bounds = np.asarray(values, float), np.asarray(intervals, float)
    return np.clip(np.stack([middle - bounds[:, 0], bounds[:, 1] - middle]), 0.0, None)


def bin_text(low: float, high: float) -> str:
    """Label of a bin with a typographic minus sign."""
    return bin_label(low, high).replace("-", "\N{MINUS SIGN}")


def bin_centres(edges: Sequence[float]) -> np.ndarray:
    """Middle of every bin, [n], from rising edges [n + 1]; an open bin is treated as being as wide as its neighbour."""
    closed = np.array(edges, float)
    if np.isinf(closed[0]):
        closed[0] = 2.0 * closed[1] - closed[2]
    if np.isinf(closed[-1]):
        closed[-1] = 2.0 * closed[-2] - closed[-3]
    return (closed[1:] + closed[:-1]) / 2.0


def plot_snr(metrics: dict[str, Any]) -> Figure:
    """Plots F1, precision and recall against SNR at both gates, with bootstrap intervals."""
    figure = new_figure(10.0, 4.4)
    panels = figure.subplots(1, 2, sharey=True)
    rows = metrics["by_snr"]
    centres = bin_centres([rows[0]["snr_db"][0], *(row["snr_db"][1] for row in rows)])
    styles = (
        ("f1", "F1", BLUE, "o", 0.0),
        ("precision", "precision", ORANGE, "s", -0.35),
        ("recall", "recall", GREEN, "^", 0.35),
    )
    for axes, gate in zip(panels, ("standard", "strict"), strict=True):
        for key, label, colour, marker, shift in styles:
            values = [row[gate][key] for row in rows]
            bars = interval_bars(values, [row[gate][f"{key}_interval"] for row in rows])
            axes.errorbar(
                centres + shift, values, yerr=bars, color=colour, marker=marker, label=label, capsize=3, lw=1.8
            )
        tidy(axes)
        limits = "{azimuth_deg:g}°, {elevation_deg:g}°, {range_m:g} m".format(**metrics["settings"][f"{gate}_gate"])
        axes.set(title=f"{gate.capitalize()} gate: {limits}", xlabel="SNR, dB")
        axes.set_xticks(metrics["settings"]["snr_edges_db"])
    panels[0].set(ylabel="share", ylim=(-0.02, 1.02))
    panels[0].legend(loc="lower right", frameon=False)
    confidence = metrics["settings"]["confidence"]
    figure.suptitle(
        f"Detection against SNR, {metrics['scenes']} scenes (bars: {confidence:.0%} bootstrap)", fontweight="bold"
    )
    return figure


def plot_error_distribution(evaluation: Evaluation) -> Figure:
    """Plots the cumulative distribution of the position error for each SNR bin; missed sources are never located."""
    figure = new_figure(7.2, 4.6)
    axes = figure.subplots()
    table, edges = evaluation.table, whole_edges(evaluation.snr_db, evaluation.config.snr_edges_db)
    snr_class = bin_index(evaluation.snr_db, edges)[table.scene]
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        rows = snr_class == number
        if (table.is_true & rows).any():
            axes.step(
                *error_distribution(table, rows, evaluation.config.max_error_m),
                where="post",
                color=_SNR_COLOURS[number % len(_SNR_COLOURS)],
                lw=2,
                label=f"{bin_text(low, high)} dB",
            )
    axes.set_xscale("log")
    axes.set_xlim(1e-3, evaluation.config.max_error_m)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    tidy(axes)
    axes.set(xlabel="position error, m", ylabel="true sources located within", ylim=(0.0, 1.0))
    axes.legend(title="SNR", loc="upper left", frameon=False)
    axes.set_title("Position error (missed sources count as never located)", fontweight="bold")
    return figure


def plot_confusion(metrics: dict[str, Any]) -> Figure:
    """Plots the confusion matrix of the number of sources: shares of a row as colour, counts as text."""
    counts = np.array(metrics["num_sources_confusion"])
    rows = np.flatnonzero(counts.sum(axis=1))
    shares = counts[rows] / counts[rows].sum(axis=1, keepdims=True)
    figure = new_figure(5.6, 4.8)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        text = f"{share:.0%}\n{counts[rows[row], column]}"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color="white" if share > 0.55 else "black")
    axes.set_xticks(range(counts.shape[1]))
    axes.set_yticks(range(rows.size), [str(row) for row in rows])
    axes.set(xlabel="sources reported", ylabel="sources present")
    axes.set_title(f"Number of sources: {metrics['num_sources_accuracy']:.0%} of scenes right", fontweight="bold")
    figure.colorbar(image, ax=axes, format=PercentFormatter(1.0), label="share of the scenes of a row")
    return figure


def plot_range(metrics: dict[str, Any]) -> Figure:
    """Plots recall at both gates and the position error of pairs against the true range."""
    rows = metrics["by_range"]
    place = np.arange(len(rows))
    labels = [f"{bin_text(*row['range_m'])}\n({row['sources']})" for row in rows]
    figure = new_figure(10.0, 4.4)
    left, right = figure.subplots(1, 2)
    for shift, gate, colour in ((-0.2, "standard", BLUE), (0.2, "strict", ORANGE)):
        recall = [row[f"recall_{gate}"] for row in rows]
        bars = interval_bars(recall, [row[f"recall_{gate}_interval"] for row in rows])
        left.bar(
            place + shift, recall, 0.38, color=colour, yerr=bars, ecolor="#333333", capsize=3, label=f"{gate} gate"
        )
    left.set(ylabel="recall", ylim=(0.0, 1.2), yticks=np.linspace(0.0, 1.0, 6), title="Sources found")
    left.legend(frameon=False, loc="upper right", ncols=2)
    median = np.array([row["median_position_error_m"] for row in rows])
    bars = interval_bars(median, [row["quartiles_position_error_m"] for row in rows])
    right.errorbar(
        place, median, yerr=bars, color=BLUE, marker="o", ms=7, capsize=4, lw=1.8, label="median and quartiles"
    )
    right.plot(place, [row["rmse_xyz_m"] for row in rows], color=VERMILION, marker="D", ls="--", label="rmse")
    right.set_yscale("log")
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    right.set(ylabel="position error of pairs, m", title="Position error")
    right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        tidy(axes)
        axes.set_xticks(place, labels)
        axes.set_xlabel("true range, m (sources)")
    confidence = metrics["settings"]["confidence"]
    figure.suptitle(
        f"Recall and error against range, {metrics['scenes']} scenes (bars on recall: {confidence:.0%} bootstrap)",
        fontweight="bold",
    )
    return figure


def plot_bound(evaluation: Evaluation) -> Figure:
    """Plots the median position error of pairs against SNR for each range bin, with the median Cramer-Rao bound."""
    figure = new_figure(7.2, 4.8)
    axes = figure.subplots()
    table, config = evaluation.table, evaluation.config
    snr_edges = whole_edges(evaluation.snr_db, config.snr_edges_db)
    range_edges = whole_edges(table.true_range_m[table.is_true], config.range_edges_m)
    centres = bin_centres(snr_edges)
    snr_class = bin_index(evaluation.snr_db, snr_edges)[table.scene]
    range_class = bin_index(table.true_range_m, range_edges)
    for number, (low, high) in enumerate(itertools.pairwise(range_edges)):
        rows = [table.is_pair & (range_class == number) & (snr_class == place) for place in range(centres.size)]
        colour = _SNR_COLOURS[number % len(_SNR_COLOURS)]
        error, bound = (
            [np.median(values[row]) if row.any() else np.nan for row in rows]
            for values in (table.position_error_m, table.bound_m)
        )
        axes.plot(centres, error, color=colour, marker="o", lw=1.8, label=f"{bin_text(low, high)} m")
        axes.plot(centres, bound, color=colour, ls="--", lw=1.2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    tidy(axes)
    axes.set(xlabel="SNR, dB", ylabel="median position error of pairs, m", xticks=config.snr_edges_db)
    axes.legend(title="true range", frameon=False)
    axes.set_title("Position error and its Cramér-Rao bound (dashed)", fontweight="bold")
    return figure


def plot_reliability(calibration: dict[str, Any]) -> Figure:
    """Plots hit rate against score, and below it the number of estimates in each bin."""
    bins = calibration["bins"]
    figure = new_figure(5.6, 5.8)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    hit_rate = [item["hit_rate"] for item in bins]
    bars = interval_bars(hit_rate, [item["hit_rate_interval"] for item in bins])
    top.plot([0, 1], [0, 1], color=GREY, ls="--", label="perfectly calibrated")
    score = [item["mean_score"] for item in bins]
    top.errorbar(score, hit_rate, yerr=bars, color=BLUE, marker="o", capsize=3, lw=1.8, label="measured")
    top.set(ylabel="share of hits, standard gate", xlim=(0, 1), ylim=(0, 1.02))
    top.legend(frameon=False, loc="upper left")
    top.set_title(
        f"Score as a probability: calibration error {calibration['expected_calibration_error']:.3f}", fontweight="bold"
    )
    lows, highs = np.transpose([item["score"] for item in bins])
    counts = [item["estimates"] for item in bins]
    bottom.bar(lows, counts, highs - lows, align="edge", color=BLUE, alpha=0.6, edgecolor="white")
    bottom.set(xlabel="score", ylabel="estimates")
    for axes in (top, bottom):
        tidy(axes)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, atomically."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, bbox_inches="tight", facecolor="white")
