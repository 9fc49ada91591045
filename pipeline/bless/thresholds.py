"""Thresholds of a blessing: values, and changes against the latest blessed model, overall or in a slice."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from typing_extensions import TypedDict

from models.checked import CHECKS, Ascending, Infinite, NotNegative, checked, read_toml
from pipeline.metrics.evaluation import STANDARD_GATE, Evaluation, bin_label
from pipeline.metrics.match_counts import MatchCounts

Metric = Literal["f1", "precision", "recall", "strict_f1", "rmse_xyz_m", "objective"]
METRICS: dict[str, tuple[str, Callable[[MatchCounts], np.ndarray], bool]] = {
    "f1": ("standard", lambda tally: tally.f1, True),
    "precision": ("standard", lambda tally: tally.precision, True),
    "recall": ("standard", lambda tally: tally.recall, True),
    "strict_f1": ("strict", lambda tally: tally.f1, True),
    "rmse_xyz_m": ("standard", lambda tally: tally.rmse_xyz_m, False),
    "objective": ("standard", lambda tally: tally.objective, False),
}
"""Gate, statistic, and whether a higher value is better, by the name of the metric."""

_OF_SOURCES = ("recall", "rmse_xyz_m")  # metrics of a slice by true range: false alarms have none


@checked(frozen=True)
class Slice:
    """Selection of scenes. By default it selects all.

    world: data set. snr_db: reported SNR from low to below high. num_sources: number of sources. range_m: selects the
    sources of that true range.
    """

    world: str | None = None
    snr_db: Annotated[tuple[Infinite, Infinite], Ascending] | None = None
    num_sources: int | None = None
    range_m: Annotated[tuple[Infinite, Infinite], Ascending] | None = None

    def __str__(self) -> str:
        parts = [
            self.world,
            f"SNR {bin_label(*self.snr_db)} dB" if self.snr_db else None,
            f"{self.num_sources} sources" if self.num_sources is not None else None,
            f"range {bin_label(*self.range_m)} m" if self.range_m else None,
        ]
        return ", ".join(part for part in parts if part) or "overall"

    def tally(self, evaluation: Evaluation, worlds: np.ndarray, gate: str) -> MatchCounts:
        """Match counts at a gate, "standard" or "strict", of the scenes or sources in the slice. worlds: data set of
        every scene, [B]."""
        chosen = np.ones(evaluation.snr_db.shape, bool)
        if self.world is not None:
            chosen &= worlds == self.world
        if self.snr_db is not None:
            chosen &= (evaluation.snr_db >= self.snr_db[0]) & (evaluation.snr_db < self.snr_db[1])
        if self.num_sources is not None:
            chosen &= evaluation.truth.num_sources == self.num_sources
        tally: MatchCounts = getattr(evaluation, gate)
        return (tally if self.range_m is None else _of_sources(evaluation, *self.range_m)).select(chosen)


def _of_sources(evaluation: Evaluation, low_m: float, high_m: float) -> MatchCounts:
    """Match counts per scene of the true sources with a range in [low, high)."""
    table, cap = evaluation.table, evaluation.config.max_error_m
    rows = table.is_true & (table.true_range_m >= low_m) & (table.true_range_m < high_m)
    error = np.minimum(np.where(table.is_pair, table.position_error_m, 0.0), cap)

    def per_scene(mask: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
        weights = None if values is None else values[mask]
        return np.bincount(table.scene[mask], weights, evaluation.truth.num_scenes).astype(np.float64)

    pairs = rows & table.is_pair
    hits = per_scene(rows & table.hits(STANDARD_GATE))
    return MatchCounts(per_scene(rows), hits, hits, per_scene(pairs), per_scene(pairs, error**2), cap)


@checked(frozen=True)
class Threshold(Slice):
    """Threshold in a slice: a limit of the value, or of the loss against the latest blessed model, or both."""

    metric: Metric = dataclasses.field(kw_only=True)
    at_least: float | None = None
    at_most: float | None = None
    worse_by_at_most: NotNegative | None = None

    def __post_init__(self) -> None:
        if self.range_m is not None and self.metric not in _OF_SOURCES:
            raise ValueError(f"metric: expected {' or '.join(_OF_SOURCES)} in a slice by range, got {self.metric}")
        if self.at_least is None and self.at_most is None and self.worse_by_at_most is None:
            raise ValueError("at_least: expected at_least, at_most or worse_by_at_most, got none of them")


class ThresholdFile(TypedDict, total=False):
    """File of thresholds, such as [[threshold]] metric = "f1", snr_db = [0, 5], at_least = 0.8."""

    __pydantic_config__ = CHECKS  # type: ignore[misc]
    threshold: tuple[Threshold, ...]


def read_thresholds(path: Path) -> tuple[Threshold, ...]:
    """Reads thresholds from a TOML file."""
    found: ThresholdFile = read_toml(path, ThresholdFile)
    return found.get("threshold", ())
