"""Differences of the metrics of two evaluations of the same scenes."""

from collections.abc import Callable

import numpy as np

from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.match_counts import Difference, MatchCounts, paired_difference


def compare(evaluation: Evaluation, other: Evaluation) -> dict[str, Difference]:
    """Metrics of one evaluation minus those of another, with paired bootstrap intervals; ValueError if the scenes
    differ.
    """
    if not np.array_equal(evaluation.truth.position_m, other.truth.position_m, equal_nan=True):
        raise ValueError("--compare-with: expected an evaluation of the same scenes, got one with other true sources")
    statistics: dict[str, tuple[str, Callable[[MatchCounts], np.ndarray]]] = {
        "f1": ("standard", lambda counts: counts.f1),
        "strict_f1": ("strict", lambda counts: counts.f1),
        "rmse_xyz_m": ("standard", lambda counts: counts.rmse_xyz_m),
        "objective": ("standard", lambda counts: counts.objective),
    }
    config = evaluation.config
    return {
        name: paired_difference(
            getattr(evaluation, gate),
            getattr(other, gate),
            statistic,
            resamples=config.resamples,
            confidence=config.confidence,
            seed=config.seed,
        )
        for name, (gate, statistic) in statistics.items()
    }
