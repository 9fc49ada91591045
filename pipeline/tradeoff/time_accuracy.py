"""F1 against milliseconds per scene.

Faster and slower settings of the off-grid refinement are evaluated on the same scenes in one run. Every batch runs
twice, and the shorter time counts.
"""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from models.artifacts import load_weights, moved_to, untrained, with_settings
from models.config import LocalizerConfig
from models.localizer import Localizer
from models.localizer_weights import LocalizerWeights
from models.spectrum_localizer import spectrum_localizer
from pipeline.common.records import write_config, write_json
from pipeline.figures import plots
from pipeline.metrics.estimators import Estimator, weights_estimators
from pipeline.metrics.evaluation import compute_metrics, metrics_config
from pipeline.metrics.predictions import evaluate_predictions, run_estimator
from pipeline.scenes.reading import load_scenes
from pipeline.tradeoff.options import TradeoffOptions
from tfds_shards.scene_sets import scene_set

SETTINGS: dict[str, dict[str, Any]] = {
    "no round, 2 steps": {"additions": 0, "steps": 2, "settling_steps": 0, "prune_after": 1},
    "no round": {"additions": 0},
    "1 round, 2 steps": {"additions": 1, "steps": 2, "addition_steps": 2, "settling_steps": 0, "prune_after": 1},
    "1 round": {"additions": 1},
    "default": {},
    "3 rounds, 8 steps": {"additions": 3, "steps": 8, "addition_steps": 6, "settling_steps": 8},
}
"""Changes to `RefinementConfig`, cheapest first."""


def estimators(trained: LocalizerWeights, config: LocalizerConfig) -> Iterator[tuple[str, str, Estimator]]:
    """Yields the kind of each estimator, the name of its settings in `SETTINGS`, and the estimator."""
    for name, settings in SETTINGS.items():
        given = with_settings(trained, settings)
        for kind, estimator in weights_estimators(config, "default", trained=given, untrained=untrained(given)).items():
            yield kind, name, estimator
        yield "MVDR on R_pred alone", name, spectrum_localizer(Localizer(given, config))


def measure(options: TradeoffOptions, logger: logging.Logger) -> list[dict[str, Any]]:
    """Measures F1 and run time of every estimator; one row each."""
    trained = moved_to(load_weights(options.backbone), scene_set(options.config).config.scenario)
    judged = metrics_config(trained.backbone.scenario)
    stored = load_scenes(options.data_dir, options.config, "test", take=options.scenes, batch_size=options.batch_size)
    batches = list(stored)
    rows = []
    for kind, settings, estimator in estimators(trained, LocalizerConfig(multipath=options.multipath)):
        warm_up = run_estimator(estimator, batches[:1] + batches, options.scenes, show_progress=False)
        predictions = run_estimator(estimator, batches, options.scenes, show_progress=False)
        standard = compute_metrics(evaluate_predictions(predictions, judged))["standard"]
        milliseconds = 1e3 * np.sum(np.minimum(warm_up.seconds[1:], predictions.seconds)) / options.scenes
        rows.append({"kind": kind, "settings": settings, "ms_a_scene": float(milliseconds), "f1": standard["f1"]})
        rows[-1]["f1_interval"] = standard["f1_interval"]
        logger.info(f"{kind:22} {settings:22} {milliseconds:7.1f} ms per scene   F1 {standard['f1']:.3f}")
    return rows


def plot_tradeoff(rows: list[dict[str, Any]], scenes: int) -> Figure:
    """Plots F1 against milliseconds per scene, one line for each kind of estimator."""
    figure = plots.new_figure(7.2, 4.6)
    axes = figure.subplots()
    colours = (plots.BLUE, plots.ORANGE, plots.GREEN)
    for colour, kind in zip(colours, dict.fromkeys(row["kind"] for row in rows), strict=False):
        own = sorted((row["ms_a_scene"], row["f1"]) for row in rows if row["kind"] == kind)
        axes.plot(*zip(*own, strict=True), color=colour, marker="o", lw=1.8, label=kind)
    plots.tidy(axes)
    axes.set(xlabel="milliseconds per scene", ylabel="F1, standard gate", xscale="log")
    axes.legend(frameon=False, loc="lower right")
    axes.set_title(f"Accuracy against time, {scenes} test scenes", fontweight="bold")
    return figure


def tradeoff(options: TradeoffOptions, logger: logging.Logger) -> None:
    """Measures all estimators and writes tradeoff.json and tradeoff.png."""
    write_config(options.output_dir / "config.json", options)
    rows = measure(options, logger)
    write_json(options.output_dir / "tradeoff.json", rows)
    plots.save_figure(plot_tradeoff(rows, options.scenes), options.output_dir / "tradeoff.png")
