"""Plots of a training from its TensorBoard event files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from pipeline.common.run_folders import TENSORBOARD
from pipeline.figures import styles
from pipeline.metrics.training_curves import Curve, read_scalars
from pipeline.report.parts import Plot

_VALIDATION = {"val_f1": "F1 on validation scenes", "val_objective": "Objective on validation scenes"}


def training_plots(folder: Path, name: str) -> list[Plot]:
    """Plots of F1, objective and losses of a training; an empty list if there are no event files."""
    curves = read_scalars(folder / TENSORBOARD)
    plots = [_one(name, key, title, curves[key]) for key, title in _VALIDATION.items() if key in curves]
    losses = {key: curve for key, curve in curves.items() if not key.startswith("val_")}
    return [*plots, _losses(name, losses)] if losses else plots


def _one(name: str, key: str, title: str, curve: Curve) -> Plot:
    share = {"range": [0, 1.02]} if key == "val_f1" else {}
    drawn = styles.drawing("epoch", title.partition(" ")[0], height=320, yaxis=share)
    look = {"line": styles.line(0), "marker": styles.marker(0)}
    drawn.add_trace(go.Scatter(x=curve[0], y=styles.numbers(curve[1]), name=key, mode="lines+markers", **look))
    first, last = curve[1][0], curve[1][-1]
    alt = f"{title}: {first:.3f} at epoch {curve[0][0]}, {last:.3f} at epoch {curve[0][-1]}"
    return Plot(f"{name}-{key}", f"{title}, {name}", f"{title} after each epoch of {name}.", alt, drawn)


def _losses(name: str, losses: Mapping[str, Curve]) -> Plot:
    positive = all(np.min(values) > 0 for _, values in losses.values())
    drawn = styles.drawing("epoch", "loss", yaxis={"type": "log" if positive else "linear"})
    for number, (key, (epochs, values)) in enumerate(sorted(losses.items())):
        look = {"line": styles.line(number), "marker": styles.marker(number)}
        drawn.add_trace(go.Scatter(x=epochs, y=styles.numbers(values), name=key, mode="lines+markers", **look))
    alt = "; ".join(f"{key}: {values[0]:.3g} to {values[-1]:.3g}" for key, (_, values) in sorted(losses.items()))
    return Plot(
        f"{name}-losses", f"Losses, {name}", f"Mean of each part of the loss over an epoch, {name}.", alt, drawn
    )
