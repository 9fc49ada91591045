"""Do the scores and the position covariances mean what they say?"""

from typing import Any

import numpy as np
from scipy import stats

from pipeline.evaluation.matching import Gate, MatchTable

_BIN_EDGES = np.linspace(0.0, 1.0, 11)
_ROUNDING = 1e-5  # a probability of 1 may come as 1.0000001 in float32
_ELLIPSOID_PROBABILITIES = (0.5, 0.9, 0.99)


def score_calibration(table: MatchTable, gate: Gate, confidence: float) -> dict[str, Any] | None:
    """Reliability of the score read as the probability of a hit: ten equal bins, and the expected calibration error.

    ECE = sum over bins of share |hit rate - mean score| (Naeini, Cooper and Hauskrecht, AAAI 2015).

    Args:
      table: matches; found sources that carry a score count.
      gate: what a hit is.
      confidence: of the hit rate's interval (Wilson).

    Returns:
      {"expected_calibration_error", "bins": [{"score", "estimates", "mean_score", "hit_rate", "hit_rate_interval"}]},
      empty bins left out; None if there is no score, or one that is no probability.
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


def position_covariance_metrics(table: MatchTable, gate: Gate) -> dict[str, Any] | None:
    """Are the errors of hits as large as their covariances say?

    Args:
      table: matches; hits that carry a positive definite covariance count.
      gate: what a hit is.

    Returns:
      {"hits", "nees_over_3": mean of e^T C^-1 e / 3 (1 if honest, above 1 if the covariance is too small),
      "coverage": share of errors inside the ellipsoid of a probability, by that probability}; None if no hit has one.
    """
    squared = table.squared_mahalanobis[table.hits(gate) & np.isfinite(table.squared_mahalanobis)]
    if squared.size == 0:
        return None
    return {
        "hits": int(squared.size),
        "nees_over_3": float(squared.mean() / 3.0),
        "coverage": {
            str(probability): float(np.mean(squared <= stats.chi2.ppf(probability, df=3)))
            for probability in _ELLIPSOID_PROBABILITIES
        },
    }
