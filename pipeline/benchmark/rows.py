"""Rows of the results: the metrics of one estimator on one cell, from `compute_metrics`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.benchmark.cells import Cell
from pipeline.metrics.estimators import Estimator
from pipeline.metrics.evaluation import Evaluation, compute_metrics, metrics_config
from pipeline.metrics.match_counts import percentile_interval, ratio, resample_weights
from pipeline.metrics.predictions import evaluate_predictions, run_estimator

Row = dict[str, Any]


def resolved(evaluation: Evaluation) -> tuple[float, tuple[float, float]]:
    """Share of scenes in which every source is a hit at the strict gate, and its bootstrap interval."""
    config, strict = evaluation.config, evaluation.strict
    whole = (strict.hits == strict.true).astype(np.float64)
    weights = resample_weights(whole.size, config.resamples, config.seed)
    return float(whole.mean()), percentile_interval(ratio(weights @ whole, weights.sum(axis=1)), config.confidence)


def measure(cell: Cell, estimator: Estimator, batches: Sequence[Mapping[str, Any]]) -> Row:
    """Evaluates an estimator on a cell, which determines label, value and gates, from the `cell_batches` of the cell.

    The row has F1, precision and recall at the standard gate, position errors, bounds, share of resolved scenes and run
    time. NAME_low and NAME_high are the ends of the interval of NAME.
    """
    num_scenes = sum(len(batch["snr_db"]) for batch in batches)
    predictions = run_estimator(estimator, batches, num_scenes, show_progress=False)
    evaluation = evaluate_predictions(predictions, metrics_config(cell.scenario))
    metrics = compute_metrics(evaluation)
    rate = predictions.scenes_per_second()
    row: Row = {"label": cell.label, "value": cell.value}
    for name in ("f1", "precision", "recall"):
        row |= _with_interval(name, metrics["standard"][name], metrics["standard"][f"{name}_interval"])
    row["median_error_m"] = metrics["median_position_error_m"]
    row |= _with_interval("rms_error_m", metrics["rmse_xyz_m"], metrics["rmse_xyz_m_interval"])
    row |= {name: metrics[name] for name in ("median_bound_m", "median_error_over_bound")}
    bound_m = evaluation.truth.bound_m  # of all true sources, found or not
    row["median_bound_all_m"] = None if bound_m is None else float(np.nanmedian(bound_m))
    row |= _with_interval("resolved", *resolved(evaluation))
    return row | {"seconds_a_scene": None if rate is None else 1.0 / rate, "scenes": num_scenes}


def _with_interval(name: str, value: float, interval: tuple[float, float]) -> Row:
    return {name: value, f"{name}_low": interval[0], f"{name}_high": interval[1]}
