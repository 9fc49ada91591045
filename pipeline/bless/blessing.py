"""Checks thresholds to decide whether a model may be pushed: BLESSED or NOT_BLESSED, with every reason.

A value threshold limits a metric itself. A change threshold limits the loss against the latest blessed model on the
same scenes. The whole confidence interval of a paired bootstrap must be within the limit, so too few scenes do not
pass. If no model has been blessed before, a change threshold holds. Without thresholds a model is not blessed.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.bless.thresholds import METRICS, Slice, Threshold
from pipeline.metrics.evaluation import Evaluation, MetricsConfig, whole_edges
from pipeline.metrics.match_counts import paired_difference

BLESSED, NOT_BLESSED = "BLESSED", "NOT_BLESSED"


@dataclasses.dataclass(frozen=True)
class Answers:
    """A model's evaluation on the reserved scenes.

    evaluation: of B scenes. worlds: name of the set that each scene belongs to, [B] str.
    """

    evaluation: Evaluation
    worlds: np.ndarray


@dataclasses.dataclass(frozen=True)
class Check:
    """Result of one threshold: whether it holds, and the reason as text."""

    holds: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class Blessing:
    """The verdict and the checks behind it."""

    verdict: str
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> list[str]:
        """Reasons why the model is not blessed; empty if it is."""
        return [check.reason for check in self.checks if not check.holds] or (
            ["no thresholds were given"] if not self.checks else []
        )


def bless(thresholds: Sequence[Threshold], candidate: Answers, baseline: Answers | None) -> Blessing:
    """Checks a model against thresholds. baseline: answers of the latest blessed model to the same scenes; None if
    there is none. ValueError if the two were evaluated on different scenes."""
    checks = tuple(check for threshold in thresholds for check in _checks(threshold, candidate, baseline))
    held = bool(checks) and all(check.holds for check in checks)
    return Blessing(BLESSED if held else NOT_BLESSED, checks)


def _checks(threshold: Threshold, candidate: Answers, baseline: Answers | None) -> list[Check]:
    gate, statistic, more_is_better = METRICS[threshold.metric]
    tally = threshold.tally(candidate.evaluation, candidate.worlds, gate)
    named = f"{threshold.metric}, {threshold}"
    value = float(statistic(tally.total()))
    if not np.isfinite(value):
        return [Check(False, f"{named}: no value on {tally.true.size} scenes")]
    found = []
    if threshold.at_least is not None:
        reason = f"{named}: {value:.4f}, required at least {threshold.at_least:g}"
        found.append(Check(value >= threshold.at_least, reason))
    if threshold.at_most is not None:
        found.append(Check(value <= threshold.at_most, f"{named}: {value:.4f}, allowed at most {threshold.at_most:g}"))
    if threshold.worse_by_at_most is not None:
        found.append(_change(threshold, named, candidate, baseline, more_is_better))
    return found


def _change(
    threshold: Threshold, named: str, candidate: Answers, baseline: Answers | None, more_is_better: bool
) -> Check:
    if baseline is None:
        return Check(True, f"{named}: no earlier blessed model to compare with")
    low, high, difference = _difference(threshold.metric, threshold, candidate, baseline)
    loss = -low if more_is_better else high
    allowed = threshold.worse_by_at_most
    assert allowed is not None
    shown = f"{difference:+.4f} [{low:+.4f}, {high:+.4f}] against the latest blessed model"
    return Check(bool(loss <= allowed), f"{named}: {shown}, allowed to be worse by at most {allowed:g}")


def _difference(metric: str, where: Slice, candidate: Answers, baseline: Answers) -> tuple[float, float, float]:
    """Lower and upper end of the paired interval of candidate minus baseline, and the difference itself."""
    gate, statistic, _ = METRICS[metric]
    config: MetricsConfig = candidate.evaluation.config
    found = paired_difference(
        where.tally(candidate.evaluation, candidate.worlds, gate),
        where.tally(baseline.evaluation, baseline.worlds, gate),
        statistic,
        resamples=config.resamples,
        confidence=config.confidence,
        seed=config.seed,
    )
    return *found.interval, found.difference


def all_slices(answers: Answers) -> list[Slice]:
    """All slices of the scenes: overall, and every set, SNR bin, number of sources and range bin."""
    evaluation, worlds = answers.evaluation, sorted({str(world) for world in answers.worlds})
    edges = whole_edges(evaluation.snr_db, evaluation.config.snr_edges_db)
    snr_edges = (*edges[:-1], math.nextafter(edges[-1], math.inf))  # a slice excludes its upper edge
    return [
        Slice(),
        *(Slice(world=world) for world in worlds if len(worlds) > 1),
        *(Slice(snr_db=ends) for ends in itertools.pairwise(snr_edges)),
        *(Slice(num_sources=int(count)) for count in np.unique(evaluation.truth.num_sources)),
        *(Slice(range_m=ends) for ends in itertools.pairwise(evaluation.config.range_edges_m)),
    ]


def slice_table(candidate: Answers, baseline: Answers | None) -> list[dict[str, Any]]:
    """F1 of every slice (recall for range bins), and its difference from the latest blessed model."""
    rows = []
    for where in all_slices(candidate):
        metric = "f1" if where.range_m is None else "recall"
        gate, statistic, _ = METRICS[metric]
        tally = where.tally(candidate.evaluation, candidate.worlds, gate)
        row: dict[str, Any] = {"slice": str(where), "scenes": tally.true.size, metric: float(statistic(tally.total()))}
        if baseline is not None and tally.true.size:
            low, high, difference = _difference(metric, where, candidate, baseline)
            row |= {"minus_blessed": difference, "interval": [low, high]}
        rows.append(row)
    return rows
