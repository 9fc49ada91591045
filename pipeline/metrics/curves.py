"""Curves over all sources: distribution of the position error, and precision against recall."""

import numpy as np

from pipeline.metrics.match_counts import ratio
from pipeline.metrics.matching import Gate, MatchTable


def error_distribution(table: MatchTable, rows: np.ndarray, longest_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative distribution of the position error: the share of true sources located within a distance.

    Missed sources count as never located, so the curve may end below 1.

    Args:
      table: matches.
      rows: [R] bool, rows whose true sources count.
      longest_m: last distance of the curve, metres.

    Returns:
      Distances [n] in metres, rising from 0, and the share of sources within each, [n]. The share is NaN if no true
      source counts.
    """
    true = table.is_true & rows
    errors = np.sort(table.position_error_m[true & table.is_pair])
    located = np.append(np.arange(errors.size + 1), errors.size)
    return np.concatenate([[0.0], errors, [longest_m]]), ratio(located, true.sum())


def precision_recall(table: MatchTable, gate: Gate) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Precision and recall when only estimates with at least a given score are reported.

    Sources are not matched again for each threshold, so the last point is the result with all estimates.

    Args:
      table: matches; estimates without a score are ignored.
      gate: gate of a hit.

    Returns:
      Scores [n], falling and unique; precision [n] and recall [n] at each of them. None if no estimate has a score.
    """
    scored = table.is_found & np.isfinite(table.score)
    if not scored.any():
        return None
    order = np.argsort(-table.score[scored], kind="stable")
    score, hits = table.score[scored][order], np.cumsum(table.hits(gate)[scored][order])
    last = np.append(np.flatnonzero(np.diff(score)), score.size - 1)
    return score[last], ratio(hits[last], last + 1), ratio(hits[last], table.is_true.sum())
