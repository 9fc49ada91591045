"""The report of a study: one self-contained HTML file."""

import html
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.common.records import replacing
from pipeline.tune.results import Row, importances, surrogate_against_objective
from pipeline.tune.space import Choice, Range, Space

_STYLE = (
    "body{font:15px sans-serif;max-width:70em;margin:2em auto;padding:0 1em}table{border-collapse:collapse;"
    "font-size:13px}td,th{padding:.2em .6em;border-bottom:1px solid #ccc;text-align:right}.scroll{overflow-x:auto}"
)
_Done = list[Row]


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "tune", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _new(width: float = 9.0, height: float = 3.4) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def _by_trial(done: _Done, surrogate: bool) -> str:
    """The score of every trial, and the best so far."""
    figure, axes = _new()
    numbers = [row.number + 1 for row in done]
    scores = [row.outcome.surrogate if surrogate else row.outcome.objective for row in done if row.outcome]
    axes.plot(numbers, scores, "o", label="trial")
    axes.step(numbers, np.minimum.accumulate(scores), where="post", label="best so far")
    axes.set(xlabel="trial", ylabel="surrogate" if surrogate else "MVDR-final objective")
    axes.legend()
    return _svg(figure)


def _against(done: _Done) -> str:
    figure, axes = _new(5.0, 4.0)
    outcomes = [row.outcome for row in done if row.outcome]
    axes.plot([each.surrogate for each in outcomes], [each.objective for each in outcomes], "o")
    axes.set(xlabel="surrogate", ylabel="MVDR-final objective")
    return _svg(figure)


def _position(value: float, domain: Range | Choice) -> float:
    """The position of a value between the ends of its domain, 0 to 1."""
    if isinstance(domain, Choice):
        values = sorted(domain.values)
        return values.index(value) / (len(values) - 1)
    low, high = domain.low, domain.high
    if domain.log:
        value, low, high = np.log(value), np.log(low), np.log(high)
    return float((value - low) / (high - low))


def _parallel(done: _Done, space: Space) -> str:
    """Parallel coordinates: one line per trial through its values; the best trials are dark."""
    figure, axes = _new(11.0, 4.5)
    names = list(space)
    scores = np.array([row.outcome.surrogate for row in done if row.outcome])
    rank = scores.argsort().argsort() / max(len(scores) - 1, 1)
    for row, share in sorted(zip(done, rank, strict=True), key=lambda pair: -pair[1]):
        heights = [_position(row.values[name], space[name]) for name in names]
        axes.plot(range(len(names)), heights, color=mpl.colormaps["viridis"](share), alpha=0.8)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks([0, 1], ["low", "high"])
    axes.set_title("best dark, worst bright")
    return _svg(figure)


def _importance(found: dict[str, float]) -> str:
    figure, axes = _new(8.0, 0.35 * len(found) + 1.0)
    names = list(found)[::-1]
    axes.barh(names, [found[name] for name in names])
    axes.set(xlabel="share of the variation of the surrogate")
    return _svg(figure)


def _table(done: Sequence[Row]) -> str:
    names = sorted({name for row in done for name in row.values})
    heads = ["trial", "surrogate", "objective", "by seed", "F1", "rmse, m", "epoch", "seconds", *names]
    lines = ["<tr>" + "".join(f"<th>{html.escape(head)}</th>" for head in heads) + "</tr>"]
    for row in done:
        mean = row.outcome
        figures = (
            [
                *(f"{mean.surrogate:.4f}", f"{mean.objective:.4f}"),
                ", ".join(f"{each.objective:.4f}" for each in row.outcomes),
                *(f"{mean.f1:.3f}", f"{mean.rmse_xyz_m:.3f}"),
                *(f"{mean.best_epoch} of {mean.epochs}", f"{mean.seconds:.0f}"),
            ]
            if mean
            else ["failed", *[""] * 6]
        )
        cells = [str(row.number + 1), *figures, *(f"{row.values[name]:g}" for name in names)]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return '<div class="scroll"><table>' + "".join(lines) + "</table></div>"


def write_report(
    path: Path, title: str, verdicts: Sequence[str], stage1: Sequence[Row], stage2: Sequence[Row], space: Space
) -> None:
    """Writes the report of the trials so far.

    verdicts: sentences at the top: the gate, the best trial, where --force was used. space: what was searched.
    """
    parts = [f"<h1>{html.escape(title)}</h1>", *(f"<p>{html.escape(line)}</p>" for line in verdicts)]
    for name, found, surrogate in (("Stage 1: surrogate", stage1, True), ("Stage 2: MVDR-final", stage2, False)):
        done = [row for row in found if row.outcome is not None]
        if not done:
            continue
        parts += [f"<h2>{name}</h2>", _by_trial(done, surrogate)]
        parts += [f"<h3>Surrogate against MVDR-final: {surrogate_against_objective(done)}</h3>", _against(done)]
        if surrogate:
            parts += ["<h3>Parallel coordinates</h3>", _parallel(done, space)]
            shares = importances(done)
            if shares:
                parts += ["<h3>Importance of each hyper-parameter</h3>", _importance(shares)]
        parts.append(_table(found))
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
