"""Curves over all sources: distribution of the position error, and precision against recall."""

import numpy as np

from pipeline.metrics.match_counts import ratio
from pipeline.metrics.matching import Gate, MatchTable


def error_distribution(table: MatchTable, rows: np.ndarray, longest_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative distribution of the position error over the true sources in rows [R] bool of the table.

    Returns distances [n] in metres, from 0 to `longest_m`, and the share of sources located within each, [n]. Missed
    sources count as never located, so the share may end below 1. It is NaN if there is no true source.
    """
    true = table.is_true & rows
    errors = np.sort(table.position_error_m[true & table.is_pair])
    located = np.append(np.arange(errors.size + 1), errors.size)
    return np.concatenate([[0.0], errors, [longest_m]]), ratio(located, true.sum())


def precision_recall(table: MatchTable, gate: Gate) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Precision and recall at a gate when only estimates with at least a given score are reported; None without scores.

    Returns scores [n], falling and unique, and precision [n] and recall [n] at each of them. Sources are not matched
    again for each threshold, so the last point is the result with all estimates.
    """
    scored = table.is_found & np.isfinite(table.score)
    if not scored.any():
        return None
    order = np.argsort(-table.score[scored], kind="stable")
    score, hits = table.score[scored][order], np.cumsum(table.hits(gate)[scored][order])
    last = np.append(np.flatnonzero(np.diff(score)), score.size - 1)
    return score[last], ratio(hits[last], last + 1), ratio(hits[last], table.is_true.sum())
