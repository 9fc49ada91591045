"""Section of the report about accuracy: position error and detection against SNR and range."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from pipeline.figures import styles
from pipeline.figures.plots import bin_centres, bin_text
from pipeline.metrics.curves import error_distribution
from pipeline.metrics.evaluation import bin_index, whole_edges
from pipeline.report.evaluations import Stored, limits
from pipeline.report.parts import Plot, Section

_GATES = (("standard", "standard gate"), ("strict", "strict gate"))
_ERROR, _BOUND = "median_position_error_m", "median_bound_m"


def accuracy(shown: Sequence[Stored]) -> Section:
    """The section; every evaluation has its own curves."""
    shares = (error_shares(shown), error_shares_by_snr(shown[0]))
    ranges = (recall_by_range(shown), error_by_range(shown))
    return Section("accuracy", "Accuracy", [error_against_snr(shown), detection_against_snr(shown), *shares, *ranges])


def _snr_centres(rows: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Middle of every SNR bin, dB."""
    bins = [limits(row["snr_db"]) for row in rows]
    return styles.numbers(bin_centres([bins[0][0], *(high for _, high in bins)]))


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> list[float | None]:
    """A metric of every bin."""
    return styles.numbers([row.get(key) for row in rows])


def _look(number: int) -> dict[str, Any]:
    return {"mode": "lines+markers", "line": styles.line(number), "marker": styles.marker(number)}


def _add_bound(
    drawn: go.Figure, places: Sequence[Any], rows: Sequence[Mapping[str, Any]], name: str, number: int
) -> None:
    """Adds a dotted line with the median Cramer-Rao bound of every bin, if it is known."""
    bound = _column(rows, _BOUND)
    if any(value is not None for value in bound):
        line = {"color": styles.colour(number), "dash": "dot", "width": 1.6}
        drawn.add_trace(go.Scatter(x=places, y=bound, name=f"bound, {name}", mode="lines", line=line))


def _with_bound(shown: Sequence[Stored]) -> str:
    if all(item.metrics.get(_BOUND) is None for item in shown):
        return "."
    return (
        ". Dotted: the median Cramér-Rao bound of the same sources. It bounds the root mean square error, so the "
        "median error of an efficient estimator lies slightly below it."
    )


def _in_words(rows: Sequence[Mapping[str, Any]], key: str, edges: str, unit: str) -> str:
    """The values of a metric in all bins that have one, as text."""
    known = [row for row in rows if row[key] is not None]
    return ", ".join(f"{row[key]:.3g} at {bin_text(*limits(row[edges]))} {unit}" for row in known) or "nothing"


def error_against_snr(shown: Sequence[Stored]) -> Plot:
    """Plot of the median position error of pairs and the median Cramer-Rao bound in each SNR bin, from metrics.json."""
    drawn = styles.drawing("SNR, dB", "median position error, m", yaxis=styles.LOG)
    texts = []
    for number, item in enumerate(shown):
        rows = item.metrics["by_snr"]
        drawn.add_trace(go.Scatter(x=_snr_centres(rows), y=_column(rows, _ERROR), name=item.name, **_look(number)))
        _add_bound(drawn, _snr_centres(rows), rows, item.name, number)
        texts.append(f"{item.name}, median in m: {_in_words(rows, _ERROR, 'snr_db', 'dB')}")
    caption = f"Median position error of pairs in each SNR bin{_with_bound(shown)}"
    return Plot("error-snr", "Position error against SNR", caption, "; ".join(texts), drawn)


def detection_against_snr(shown: Sequence[Stored]) -> Plot:
    """Plot of F1 at the standard gate in each SNR bin, from metrics.json."""
    drawn = styles.drawing("SNR, dB", "F1", yaxis={"range": [0, 1.02]})
    texts = []
    for number, item in enumerate(shown):
        rows = [{**row["standard"], "snr_db": row["snr_db"]} for row in item.metrics["by_snr"]]
        spread = styles.intervals([row["f1"] for row in rows], [row["f1_interval"] for row in rows])
        curve = {"x": _snr_centres(rows), "y": _column(rows, "f1"), "error_y": spread, "name": item.name}
        drawn.add_trace(go.Scatter(**curve, **_look(number)))
        texts.append(f"{item.name}: F1 {_in_words(rows, 'f1', 'snr_db', 'dB')}")
    caption = (
        f"F1 at the standard gate in each SNR bin. Bars: {_confidence(shown)} bootstrap intervals over the scenes."
    )
    return Plot("f1-snr", "Detection against SNR", caption, "; ".join(texts), drawn)


def _confidence(shown: Sequence[Stored]) -> str:
    return f"{shown[0].metrics['settings']['confidence']:.0%}"


def error_shares(shown: Sequence[Stored]) -> Plot:
    """Plot of the cumulative distribution of the position error over all true sources."""
    drawn = _distance_drawing(shown[0])
    for number, item in enumerate(shown):
        _add_shares(drawn, item, np.ones(item.evaluation.table.scene.shape, bool), item.name, number)
    return Plot(
        "error-cdf",
        "Sources located within a distance",
        "Share of the true sources with an estimate within the distance. Missed sources count as never located.",
        "; ".join(f"{item.name}: {_median_in_words(item.metrics[_ERROR])}" for item in shown),
        drawn,
    )


def error_shares_by_snr(item: Stored) -> Plot:
    """Plot of the same distribution with one curve for each SNR bin."""
    drawn = _distance_drawing(item)
    evaluation = item.evaluation
    edges = whole_edges(evaluation.snr_db, evaluation.config.snr_edges_db)
    index = bin_index(evaluation.snr_db, edges)[evaluation.table.scene]
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        _add_shares(drawn, item, index == number, f"{bin_text(low, high)} dB", number)
    return Plot(
        "error-cdf-snr",
        "Sources located within a distance, by SNR",
        f"Share of the true sources located within the distance, for each SNR bin of {item.name}.",
        f"{item.name}: one rising curve for each of {len(edges) - 1} SNR bins",
        drawn,
    )


def _distance_drawing(item: Stored) -> go.Figure:
    decades = {name: styles.LOG[name][::3] for name in ("tickvals", "ticktext")}
    across = {**styles.LOG, **decades, "range": [-3, float(np.log10(item.evaluation.config.max_error_m))]}
    up = {"range": [0, 1], "tickformat": ".0%"}
    return styles.drawing("position error, m", "share located", xaxis=across, yaxis=up)


def _add_shares(drawn: go.Figure, item: Stored, rows: np.ndarray, name: str, number: int) -> None:
    table = item.evaluation.table
    if (table.is_true & rows).any():
        curve = error_distribution(table, rows, item.evaluation.config.max_error_m)
        errors, share = (styles.numbers(values) for values in styles.thinned(*curve))
        look = {"mode": "lines", "line": {"shape": "hv", **styles.line(number)}}
        drawn.add_trace(go.Scatter(x=errors, y=share, name=name, **look))


def _median_in_words(median: float | None) -> str:
    return "no pair" if median is None else f"half of the pairs are within {median:.3g} m"


def _ranges(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [bin_text(*limits(row["range_m"])) for row in rows]


def recall_by_range(shown: Sequence[Stored]) -> Plot:
    """Plot of recall against the true range, from metrics.json.

    One evaluation is shown at both gates, several only at the standard gate.
    """
    drawn = styles.drawing("true range, m", "recall", yaxis={"range": [0, 1.05]}, barmode="group")
    drawn.update_xaxes(type="category")
    several = len(shown) > 1
    bars = [(item, gate, title) for item in shown for gate, title in _GATES[: 1 if several else 2]]
    for number, (item, gate, title) in enumerate(bars):
        rows, key = item.metrics["by_range"], f"recall_{gate}"
        spread = styles.intervals([row[key] for row in rows], [row[f"{key}_interval"] for row in rows])
        look = {"marker": styles.bars(number), "error_y": spread, "name": item.name if several else title}
        drawn.add_trace(go.Bar(x=_ranges(rows), y=_column(rows, key), **look))
    texts = [_in_words(item.metrics["by_range"], "recall_standard", "range_m", "m") for item in shown]
    return Plot(
        "recall-range",
        "Sources found by range",
        f"Share of the true sources at each range with a hit. Bars: {_confidence(shown)} bootstrap intervals. There is "
        "no F1 by range, because a false alarm has no true range.",
        "; ".join(f"{item.name}: recall {text}" for item, text in zip(shown, texts, strict=True)),
        drawn,
    )


def error_by_range(shown: Sequence[Stored]) -> Plot:
    """Plot of median error, quartiles and median bound against the true range, from metrics.json."""
    drawn = styles.drawing("true range, m", "median position error, m", yaxis=styles.LOG)
    drawn.update_xaxes(type="category")
    texts = []
    for number, item in enumerate(shown):
        rows = item.metrics["by_range"]
        quartiles = styles.intervals([row[_ERROR] for row in rows], [row["quartiles_position_error_m"] for row in rows])
        curve = {"x": _ranges(rows), "y": _column(rows, _ERROR), "error_y": quartiles, "name": item.name}
        drawn.add_trace(go.Scatter(**curve, **_look(number)))
        _add_bound(drawn, _ranges(rows), rows, item.name, number)
        texts.append(f"{item.name}, median in m: {_in_words(rows, _ERROR, 'range_m', 'm')}")
    caption = f"Median position error of pairs at each true range. Bars: quartiles{_with_bound(shown)}"
    return Plot("error-range", "Position error by range", caption, "; ".join(texts), drawn)
