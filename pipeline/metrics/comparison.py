"""Differences of the metrics of two evaluations of the same scenes."""

import operator
from typing import Any

import numpy as np

from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.match_counts import Difference, paired_difference

_STATISTICS = {
    "f1": ("standard", "f1"),
    "strict_f1": ("strict", "f1"),
    "rmse_xyz_m": ("standard", "rmse_xyz_m"),
    "objective": ("standard", "objective"),
}
"""By name: the gate, and the statistic of the counts at it."""


def compare(evaluation: Evaluation, other: Evaluation) -> dict[str, Difference]:
    """Metrics of one evaluation minus another's, with paired bootstrap intervals; ValueError if the scenes differ."""
    if not np.array_equal(evaluation.truth.position_m, other.truth.position_m, equal_nan=True):
        raise ValueError("--compare-with: expected an evaluation of the same scenes, got one with other true sources")
    config = evaluation.config
    bootstrap: dict[str, Any] = {"resamples": config.resamples, "confidence": config.confidence, "seed": config.seed}
    return {
        name: paired_difference(
            getattr(evaluation, gate), getattr(other, gate), operator.attrgetter(statistic), **bootstrap
        )
        for name, (gate, statistic) in _STATISTICS.items()
    }
