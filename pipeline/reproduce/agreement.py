"""Compares measured figures with quoted ones: intervals and agreement (docs/reproduce.md)."""

import dataclasses
import math

import numpy as np
from scipy import stats

from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.match_counts import percentile_interval, resample_weights
from pipeline.reproduce.claims import Claim
from pipeline.reproduce.pages import Quoted

CONFIDENCE = 0.99
_QUOTED_CONFIDENCE = 0.95
_Z, _QUOTED_Z = (float(stats.norm.ppf(0.5 + 0.5 * confidence)) for confidence in (CONFIDENCE, _QUOTED_CONFIDENCE))
_SHARES = ("f1", "precision", "recall")


@dataclasses.dataclass(frozen=True)
class Measured:
    """A measured figure with its 99 % interval."""

    value: float
    low: float
    high: float


def measured(claim: Claim, evaluation: Evaluation, other: Evaluation | None = None) -> Measured:
    """Computes the figure of a claim from an evaluation, or its paired difference to `other` on the same scenes.

    The interval of a share is at least as wide as Wilson's score interval for the number of sources, because the
    bootstrap interval of a share near 1 has no width.
    """
    low, high = claim.snr_db or (-math.inf, math.inf)
    kept = (evaluation.snr_db >= low) & (evaluation.snr_db < high)
    config = evaluation.config
    weights = resample_weights(int(kept.sum()), config.resamples, config.seed)
    value, samples = _figure(claim, evaluation, kept, weights)
    if other is not None:
        other_value, other_samples = _figure(claim, other, kept, weights)
        return Measured(value - other_value, *percentile_interval(samples - other_samples, CONFIDENCE))
    low, high = percentile_interval(samples, CONFIDENCE)
    if claim.figure in _SHARES:
        wilson = wilson_interval(value, float(evaluation.standard.true[kept].sum()))
        low, high = min(low, wilson[0]), max(high, wilson[1])
    return Measured(value, low, high)


def _figure(claim: Claim, evaluation: Evaluation, kept: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """The figure for the kept scenes, and for each of their resamples, [R]."""
    if claim.figure == "median_error_m":
        return _median_error(evaluation, kept, weights)
    counts = evaluation.standard.select(kept)
    return float(getattr(counts.total(), claim.figure)), getattr(counts.resampled(weights), claim.figure)


def _median_error(evaluation: Evaluation, kept: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    table = evaluation.table
    rows = table.is_pair & kept[table.scene]
    order = np.argsort(table.position_error_m[rows])
    error_m = table.position_error_m[rows][order]
    if error_m.size == 0:
        return math.nan, np.full(len(weights), math.nan)
    scene = (np.cumsum(kept) - 1)[table.scene[rows][order]]
    share = np.cumsum(weights[:, scene], axis=1)
    return float(np.median(error_m)), error_m[(share >= 0.5 * share[:, -1:]).argmax(axis=1)]


def wilson_interval(share: float, count: float) -> tuple[float, float]:
    """Wilson's score interval of a share of `count` items, at `CONFIDENCE`."""
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return centre - half, centre + half


def tolerance(quoted: Quoted, found: Measured, share_of_scenes: float) -> float:
    """Largest accepted difference: root sum of squares of the half-widths at 99 %, plus the rounding.

    The quoted half-width is that of the quoted interval, or else that of the measured figure, scaled to the quoted
    number of scenes. The measured half-width is taken on the side of the quoted value. It is at least the quoted
    half-width scaled to the measured number of scenes: a paired difference that is zero in all of a few scenes has an
    interval without width.
    """
    side = found.high - found.value if quoted.value > found.value else found.value - found.low
    if quoted.interval is None:
        own = 0.5 * (found.high - found.low) * math.sqrt(share_of_scenes)
    else:
        own = 0.5 * (quoted.interval[1] - quoted.interval[0]) * _Z / _QUOTED_Z
        side = max(side, own / math.sqrt(share_of_scenes))
    return math.hypot(side, own) + quoted.rounding


def agrees(quoted: Quoted, found: Measured, share_of_scenes: float) -> bool:
    """Whether the two differ by at most `tolerance`; False if the measured figure is NaN."""
    return abs(quoted.value - found.value) <= tolerance(quoted, found, share_of_scenes)
