"""Curves that are counted over all sources: located within a distance, and precision against recall over the score."""

import numpy as np

from pipeline.metrics.match_counts import ratio
from pipeline.metrics.matching import Gate, MatchTable


def error_distribution(table: MatchTable, rows: np.ndarray, longest_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Share of the true sources located within a distance; sources without a pair keep it below 1.

    Args:
      table: matches.
      rows: [R] bool, the rows whose true sources count.
      longest_m: where the curve ends, metres.

    Returns:
      Distances [n] in metres, rising from 0, and the share from each on, [n]; NaN where there is no true source.
    """
    true = table.is_true & rows
    errors = np.sort(table.position_error_m[true & table.is_pair])
    located = np.append(np.arange(errors.size + 1), errors.size)
    return np.concatenate([[0.0], errors, [longest_m]]), ratio(located, true.sum())


def precision_recall(table: MatchTable, gate: Gate) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """What precision and recall would be, were only estimates of a score or above reported.

    Pairs stay as they were matched, so the last point is the answer as it is.

    Args:
      table: matches; found sources without a score are left out.
      gate: what a hit is.

    Returns:
      Scores, falling, without repeats, precision and recall from each on, all [n]; None if there is no score.
    """
    scored = table.is_found & np.isfinite(table.score)
    if not scored.any():
        return None
    order = np.argsort(-table.score[scored], kind="stable")
    score, hits = table.score[scored][order], np.cumsum(table.hits(gate)[scored][order])
    last = np.append(np.flatnonzero(np.diff(score)), score.size - 1)
    return score[last], ratio(hits[last], last + 1), ratio(hits[last], table.is_true.sum())
