"""Section of the report about detection: precision and recall, calibration of the score, number of sources."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pipeline.figures import styles
from pipeline.figures.plots import GREY
from pipeline.metrics.curves import precision_recall
from pipeline.report.evaluations import Stored
from pipeline.report.parts import Plot, Section


def detection(shown: Sequence[Stored]) -> Section:
    """The section; plots of the score are left out if there are no scores."""
    parts = [precision_against_recall(shown), reliability(shown), confusion(shown[0])]
    return Section("detection", "Detection", parts)


def precision_against_recall(shown: Sequence[Stored]) -> Plot:
    """Plot of precision against recall for each evaluation with scores, with a marker for all estimates."""
    axis = {"range": [0, 1.02]}
    drawn = styles.drawing("recall", "precision", xaxis=axis, yaxis=axis)
    ends = []
    for number, item in enumerate(shown):
        curve = precision_recall(item.evaluation.table, item.evaluation.config.standard_gate)
        if curve is None:
            continue
        score, precision, recall = (styles.numbers(values) for values in styles.thinned(*curve))
        hover = "score %{customdata:.3f}: recall %{x:.3f}, precision %{y:.3f}"
        look = {"line": styles.line(number), "customdata": score, "hovertemplate": hover}
        drawn.add_trace(go.Scatter(x=recall, y=precision, name=item.name, mode="lines", **look))
        last = {"x": recall[-1:], "y": precision[-1:], "marker": {**styles.marker(number), "size": 12}}
        drawn.add_trace(go.Scatter(**last, name=f"{item.name}, as reported", mode="markers", showlegend=False))
        ends.append(f"{item.name}: precision {precision[-1]:.3f} at recall {recall[-1]:.3f} with all estimates")
    return Plot(
        "precision-recall",
        "Precision against recall over the score",
        "Precision and recall at the standard gate when only estimates above a score are reported. The marker shows "
        "the result with all estimates.",
        "; ".join(ends),
        drawn,
    )


def reliability(shown: Sequence[Stored]) -> Plot:
    """Plot of hit rate against score in ten bins, with the number of estimates below, from metrics.json."""
    judged = [(number, item) for number, item in enumerate(shown) if item.metrics.get("calibration") is not None]
    drawn = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.74, 0.26], vertical_spacing=0.06)
    frame = styles.drawing("", "", height=520)
    drawn.update_layout(frame.layout, template="none")
    drawn.update_xaxes(frame.layout.xaxis)
    drawn.update_yaxes(frame.layout.yaxis)
    for number, item in judged:
        bins = item.metrics["calibration"]["bins"]
        rate = [row["hit_rate"] for row in bins]
        spread = styles.intervals(rate, [row["hit_rate_interval"] for row in bins])
        look = {"line": styles.line(number), "marker": styles.marker(number), "error_y": spread}
        score = styles.numbers([row["mean_score"] for row in bins])
        drawn.add_trace(go.Scatter(x=score, y=styles.numbers(rate), name=item.name, mode="lines+markers", **look), 1, 1)
        middle, count = [float(np.mean(row["score"])) for row in bins], [row["estimates"] for row in bins]
        bar = {"marker": styles.bars(number), "width": 0.085 / len(judged), "showlegend": False, "name": item.name}
        drawn.add_trace(go.Bar(x=styles.numbers(middle), y=count, **bar), 2, 1)
    dotted = {"color": GREY, "dash": "dot", "width": 1.4}
    drawn.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line=dotted, row=1, col=1)
    drawn.update_xaxes(range=[0, 1.02])
    drawn.update_xaxes(title="score", row=2, col=1)
    drawn.update_yaxes(title="share of hits", range=[0, 1.02], row=1, col=1)
    drawn.update_yaxes(title="estimates", row=2, col=1)
    errors = [(item.name, item.metrics["calibration"]["expected_calibration_error"]) for _, item in judged]
    return Plot(
        "reliability",
        "Calibration of the score",
        "Share of hits among the estimates in ten bins of the score, with Wilson intervals, and number of estimates. "
        "On the dotted line the score equals the probability of a hit.",
        "; ".join(f"{name}: expected calibration error {error:.3f}" for name, error in errors),
        drawn,
    )


def confusion(item: Stored) -> Plot:
    """Plot of the confusion matrix of the number of sources: counts as text, shares of a row as colour."""
    counts = np.array(item.metrics["num_sources_confusion"])
    present = np.flatnonzero(counts.sum(axis=1))
    counts = counts[present]
    shares = counts / counts.sum(axis=1, keepdims=True)
    text = [
        [f"{share:.0%}<br>{count}" if count else "" for share, count in zip(*row, strict=True)]
        for row in zip(shares, counts, strict=True)
    ]
    drawn = styles.drawing("sources reported", "sources present", height=430)
    hover = "%{y} present, %{x} reported: %{text}<extra></extra>"
    labels = {"text": text, "texttemplate": "%{text}", "textfont": {"color": styles.BLACK}, "hovertemplate": hover}
    colours = {"colorscale": ["#F7FBFF", "#6BAED6"], "zmin": 0, "zmax": 1, "showscale": False}  # light behind the text
    x, y, z = list(map(str, range(counts.shape[1]))), list(map(str, present)), [styles.numbers(row) for row in shares]
    drawn.add_trace(go.Heatmap(x=x, y=y, z=z, xgap=2, ygap=2, **labels, **colours))
    drawn.update_xaxes(type="category")
    drawn.update_yaxes(type="category", autorange="reversed")
    right = item.metrics["num_sources_accuracy"]
    return Plot(
        "num-sources",
        "Number of sources",
        f"Scenes by true number of sources and number reported by {item.name}; correct in {right:.0%} of the scenes.",
        f"{item.name}: the right number in {right:.1%} of {item.metrics['scenes']} scenes",
        drawn,
    )
