"""Calibration of the scores and consistency of the position covariances."""

import dataclasses
import functools
from typing import Any

import numpy as np
from scipy import stats
from scipy.stats import qmc

from pipeline.metrics.match_counts import ratio
from pipeline.metrics.matching import Gate, MatchTable, Sources

_BIN_EDGES = np.linspace(0.0, 1.0, 11)
_ROUNDING = 1e-5  # in float32 a probability of 1 may be 1.0000001
_ELLIPSOID_PROBABILITIES = (0.5, 0.9, 0.99)
_ROWS_AT_ONCE = 512


def score_calibration(table: MatchTable, gate: Gate, confidence: float) -> dict[str, Any] | None:
    """Calibration of the score as the probability of a hit: ten equal bins and the expected calibration error.

    ECE = sum over bins of share |hit rate - mean score| (Naeini, Cooper and Hauskrecht, AAAI 2015). Empty bins are left
    out; the hit rate of the others has a Wilson interval. None if there is no score, or if a score is not in [0, 1].
    """
    scored = table.is_found & np.isfinite(table.score)
    score, hit = table.score[scored], table.hits(gate)[scored]
    if score.size == 0 or score.min() < -_ROUNDING or score.max() > 1 + _ROUNDING:
        return None
    score = np.clip(score, 0.0, 1.0)
    index = np.minimum(np.digitize(score, _BIN_EDGES[1:-1]), _BIN_EDGES.size - 2)
    bins: list[dict[str, Any]] = []
    calibration_error = 0.0
    for number in np.unique(index):
        inside = index == number
        mean_score, hit_rate = float(score[inside].mean()), float(hit[inside].mean())
        interval = stats.binomtest(int(hit[inside].sum()), int(inside.sum())).proportion_ci(confidence, "wilson")
        calibration_error += inside.mean() * abs(hit_rate - mean_score)
        bins.append(
            {
                "score": [float(_BIN_EDGES[number]), float(_BIN_EDGES[number + 1])],
                "estimates": int(inside.sum()),
                "mean_score": mean_score,
                "hit_rate": hit_rate,
                "hit_rate_interval": [float(interval.low), float(interval.high)],
            }
        )
    return {"expected_calibration_error": float(calibration_error), "bins": bins}


@dataclasses.dataclass(frozen=True)
class GatedErrors:
    """Squared Mahalanobis distances of the hits, and their distribution if the covariances are correct.

    A hit lies inside the gate, so its distance has a truncated chi-square distribution. If a covariance is larger than
    the gate, the mean is far below 3. All arrays are [R], NaN unless the row of the table is a hit with a covariance.
    squared: e^T C^-1 e. expected, variance: its mean and variance for e ~ N(0, C) inside the gate.
    """

    squared: np.ndarray
    expected: np.ndarray
    variance: np.ndarray

    def nees_over_3(self, rows: np.ndarray) -> float:
        """Mean squared distance over its expectation, of rows [R] bool: larger than 1 if covariances are too small."""
        usable = rows & np.isfinite(self.expected)
        return float(ratio(self.squared[usable].sum(), self.expected[usable].sum()))

    def honest_interval(self, rows: np.ndarray, confidence: float) -> tuple[float, float]:
        """Interval of `nees_over_3` for correct covariances, from a chi-square distribution with the same variance."""
        usable = rows & np.isfinite(self.expected)
        if not usable.any():
            return (float("nan"), float("nan"))
        freedom = 2.0 * self.expected[usable].sum() ** 2 / self.variance[usable].sum()
        low, high = stats.chi2.ppf([(1.0 - confidence) / 2, (1.0 + confidence) / 2], freedom) / freedom
        return (float(low), float(high))


def gated_errors(table: MatchTable, found: Sources, gate: Gate) -> GatedErrors:
    """Computes `GatedErrors` with quasi-random draws of the error of each hit."""
    squared = np.where(table.hits(gate), table.squared_mahalanobis, np.nan)
    expected, variance = np.full(squared.shape, np.nan), np.full(squared.shape, np.nan)
    draws = _normal_draws()
    lengths = np.sum(draws**2, axis=-1)
    for first in range(0, squared.size, _ROWS_AT_ONCE):
        rows = first + np.flatnonzero(np.isfinite(squared[first : first + _ROWS_AT_ONCE]))
        scene, slot = table.scene[rows], table.found_slot[rows]
        roots = np.linalg.cholesky(found.position_cov_m2[scene, slot])
        inside = _inside(found.position_m[scene, slot], draws @ roots.mT, gate).astype(float)
        expected[rows] = ratio(inside @ lengths, inside.sum(axis=1))
        variance[rows] = ratio(inside @ lengths**2, inside.sum(axis=1)) - expected[rows] ** 2
    return GatedErrors(squared, expected, variance)


@functools.cache
def _normal_draws() -> np.ndarray:
    """Quasi-random standard normal points, [512, 3]."""
    evenly = qmc.Sobol(3, rng=np.random.default_rng(0)).random_base2(9)
    return stats.norm.ppf(np.clip(evenly, 1e-6, 1.0 - 1e-6))


def _inside(position_m: np.ndarray, errors_m: np.ndarray, gate: Gate) -> np.ndarray:
    """Whether a source at position_m [R, 3] - errors_m [R, n, 3] is inside the gate of the found one, [R, n] bool."""
    places = position_m[:, None] - np.concatenate([np.zeros_like(position_m[:, None]), errors_m], axis=1)
    range_m = np.linalg.norm(places, axis=-1)
    azimuth, elevation = np.arctan2(places[..., 1], places[..., 0]), np.arcsin(places[..., 2] / range_m)
    azimuth, elevation, range_m = (values[:, 1:] - values[:, :1] for values in (azimuth, elevation, range_m))
    azimuth -= 2.0 * np.pi * np.round(azimuth / (2.0 * np.pi))
    near = (np.abs(azimuth) <= np.radians(gate.azimuth_deg)) & (np.abs(elevation) <= np.radians(gate.elevation_deg))
    return near & (np.abs(range_m) <= gate.range_m)


def position_covariance_metrics(table: MatchTable, errors: GatedErrors, confidence: float) -> dict[str, Any] | None:
    """Compares position errors with the reported covariances; None if no pair has a positive definite covariance.

    For the hits, see `GatedErrors`: "hits", "nees_over_3" and "honest_interval". For all pairs, inside the gate or not:
    "pairs"; "median_over_honest", the median of e^T C^-1 e divided by that of a chi-square with 3 degrees of freedom;
    "median_over_honest_interval", its interval from order statistics; and "coverage", the share of errors inside the
    ellipsoid of each probability. A pair of two different sources has a very large error but moves the median no more
    than any other pair.
    """
    squared = np.sort(table.squared_mahalanobis[table.is_pair & np.isfinite(table.squared_mahalanobis)])
    if squared.size == 0:
        return None
    everything = np.ones(table.scene.shape, bool)
    honest_median = stats.chi2.median(df=3)
    ranks = stats.binom.ppf([(1.0 - confidence) / 2, (1.0 + confidence) / 2], squared.size, 0.5).astype(int)
    return {
        "hits": int(np.isfinite(errors.squared).sum()),
        "nees_over_3": errors.nees_over_3(everything),
        "honest_interval": errors.honest_interval(everything, confidence),
        "pairs": int(squared.size),
        "median_over_honest": float(np.median(squared) / honest_median),
        "median_over_honest_interval": (squared[np.clip(ranks, 0, squared.size - 1)] / honest_median).tolist(),
        "coverage": {
            str(probability): float(np.mean(squared <= stats.chi2.ppf(probability, df=3)))
            for probability in _ELLIPSOID_PROBABILITIES
        },
    }
