"""Counts of hits per scene, statistics of their sums, and the bootstrap over scenes (docs/evaluation.md)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.metrics.matching import Gate, MatchTable, Sources

OBJECTIVE_F1_WEIGHT = 10.0
COUNTS = ("true", "found", "hits", "pairs", "squared_error_m2")
"""Fields of `MatchCounts` that are counts."""


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator as float64; NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


@dataclasses.dataclass(frozen=True)
class MatchCounts:
    """Counts for one gate, per scene or summed over scenes. All arrays have the same shape.

    hits: pairs inside the gate. squared_error_m2: sum over pairs of the squared position error, each error capped at
    max_error_m, which is also the rmse if there is no pair. rmse_scale_m: scale of the rmse in the objective.
    """

    true: np.ndarray
    found: np.ndarray
    hits: np.ndarray
    pairs: np.ndarray
    squared_error_m2: np.ndarray
    max_error_m: float
    rmse_scale_m: float = 2.0

    def _map(self, function: Callable[[np.ndarray], np.ndarray]) -> "MatchCounts":
        counts: dict[str, Any] = {name: function(getattr(self, name)) for name in COUNTS}
        return dataclasses.replace(self, **counts)

    def select(self, scenes: np.ndarray) -> "MatchCounts":
        """Counts of selected scenes: `scenes` is a mask or an array of indices."""
        return self._map(lambda count: count[scenes])

    def total(self) -> "MatchCounts":
        """Sums over all scenes."""
        return self._map(np.sum)

    def resampled(self, weights: np.ndarray) -> "MatchCounts":
        """Sums over bootstrap resamples, [R]; weights [R, B] say how often each resample contains each scene."""
        return self._map(lambda count: weights @ count)

    @property
    def precision(self) -> np.ndarray:
        """hits / found; NaN if no source was found."""
        return ratio(self.hits, self.found)

    @property
    def recall(self) -> np.ndarray:
        """hits / true; NaN if there is no true source."""
        return ratio(self.hits, self.true)

    @property
    def f1(self) -> np.ndarray:
        """2 hits / (true + found); NaN if there is no true and no found source."""
        return ratio(2.0 * self.hits, self.true + self.found)

    @property
    def rmse_xyz_m(self) -> np.ndarray:
        """Root mean square position error of all pairs, inside the gate or not, metres.

        max_error_m if there is no pair; NaN if there is no true and no found source.
        """
        without_pair = np.where(self.true + self.found > 0, self.max_error_m**2, np.nan)
        return np.sqrt(np.where(self.pairs > 0, ratio(self.squared_error_m2, self.pairs), without_pair))

    @property
    def objective(self) -> np.ndarray:
        """rmse_xyz / rmse_scale_m + 10 (1 - F1): lower is better. An empty result has the worst value."""
        return self.rmse_xyz_m / self.rmse_scale_m + OBJECTIVE_F1_WEIGHT * (1.0 - self.f1)


def count_matches(
    table: MatchTable, truth: Sources, found: Sources, gate: Gate, max_error_m: float, rmse_scale_m: float = 2.0
) -> MatchCounts:
    """Counts hits, misses and false alarms of every scene, [B], from `match_sources(truth, found)`."""
    error = np.minimum(np.where(table.is_pair, table.position_error_m, 0.0), max_error_m)

    def per_scene(values: np.ndarray) -> np.ndarray:
        return np.bincount(table.scene, weights=values, minlength=truth.num_scenes)

    return MatchCounts(
        true=truth.num_sources.astype(np.float64),
        found=found.num_sources.astype(np.float64),
        hits=per_scene(table.hits(gate)),
        pairs=per_scene(table.is_pair),
        squared_error_m2=per_scene(error**2),
        max_error_m=max_error_m,
        rmse_scale_m=rmse_scale_m,
    )


def resample_weights(num_scenes: int, resamples: int, seed: int) -> np.ndarray:
    """Bootstrap weights, [resamples, num_scenes] float32: how often each resample contains each scene."""
    draw = np.random.default_rng(seed).multinomial
    probabilities = np.full(num_scenes, 1.0 / max(num_scenes, 1))
    return draw(num_scenes, probabilities, size=resamples).astype(np.float32)


def percentile_interval(samples: np.ndarray, confidence: float) -> tuple[float, float]:
    """Central interval of bootstrap samples; NaN samples, where the statistic is not defined, are ignored."""
    samples = samples[np.isfinite(samples)]
    if samples.size == 0:
        return (float("nan"), float("nan"))
    low, high = np.quantile(samples, [(1.0 - confidence) / 2, (1.0 + confidence) / 2])
    return (float(low), float(high))


@dataclasses.dataclass(frozen=True)
class Difference:
    """Difference of a statistic between two estimators on the same scenes, with its bootstrap interval."""

    difference: float
    interval: tuple[float, float]

    def __format__(self, spec: str) -> str:
        return f"{self.difference:{spec}} [{self.interval[0]:{spec}}, {self.interval[1]:{spec}}]"


def paired_difference(
    first: MatchCounts,
    second: MatchCounts,
    statistic: Callable[[MatchCounts], np.ndarray],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Paired bootstrap over scenes of statistic(first) - statistic(second).

    Both are counts per scene on the same scenes in the same order, and are resampled with the same scenes, so that the
    difficulty of the scenes cancels. ValueError if their true sources differ.
    """
    if not np.array_equal(first.true, second.true):
        raise ValueError("paired difference: expected counts of the same scenes, got different true sources")
    weights = resample_weights(first.true.size, resamples, seed)
    samples = statistic(first.resampled(weights)) - statistic(second.resampled(weights))
    observed = float(statistic(first.total()) - statistic(second.total()))
    return Difference(observed, percentile_interval(samples, confidence))
