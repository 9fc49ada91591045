"""What a blessing asks for: values, and changes against the latest blessed model, overall or in a slice."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pipeline.metrics.evaluation import STANDARD_GATE, Evaluation, bin_label
from pipeline.metrics.match_counts import MatchCounts

METRICS: dict[str, tuple[str, Callable[[MatchCounts], np.ndarray], bool]] = {
    "f1": ("standard", lambda tally: tally.f1, True),
    "precision": ("standard", lambda tally: tally.precision, True),
    "recall": ("standard", lambda tally: tally.recall, True),
    "strict_f1": ("strict", lambda tally: tally.f1, True),
    "rmse_xyz_m": ("standard", lambda tally: tally.rmse_xyz_m, False),
    "objective": ("standard", lambda tally: tally.objective, False),
}
"""By name: the gate, the statistic, and whether more is better."""

_OF_SOURCES = ("recall", "rmse_xyz_m")  # what a slice by the range of true sources has: false alarms have no true range


@dataclasses.dataclass(frozen=True)
class Slice:
    """Some of the scenes, all of them if nothing is given.

    world: the set of scenes. snr_db: reported SNR, lower edge in, upper edge out. num_sources: K. range_m: only sources
    of that true range.
    """

    world: str | None = None
    snr_db: tuple[float, float] | None = None
    num_sources: int | None = None
    range_m: tuple[float, float] | None = None

    def __str__(self) -> str:
        parts = [
            self.world,
            f"SNR {bin_label(*self.snr_db)} dB" if self.snr_db else None,
            f"{self.num_sources} sources" if self.num_sources is not None else None,
            f"range {bin_label(*self.range_m)} m" if self.range_m else None,
        ]
        return ", ".join(part for part in parts if part) or "overall"

    def tally(self, evaluation: Evaluation, worlds: np.ndarray, gate: str) -> MatchCounts:
        """Counts of the scenes, or of the sources, that lie in the slice.

        Args:
          evaluation: of B scenes.
          worlds: name of the set of every scene, [B].
          gate: "standard" or "strict".
        """
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
    """Counts per scene of true sources with a range in [low, high)."""
    table, cap = evaluation.table, evaluation.config.max_error_m
    rows = table.is_true & (table.true_range_m >= low_m) & (table.true_range_m < high_m)
    error = np.minimum(np.where(table.is_pair, table.position_error_m, 0.0), cap)

    def per_scene(mask: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
        weights = None if values is None else values[mask]
        return np.bincount(table.scene[mask], weights, evaluation.truth.num_scenes).astype(np.float64)

    pairs = rows & table.is_pair
    hits = per_scene(rows & table.hits(STANDARD_GATE))
    return MatchCounts(per_scene(rows), hits, hits, per_scene(pairs), per_scene(pairs, error**2), cap)


@dataclasses.dataclass(frozen=True)
class Threshold:
    """One thing asked for: a value, or how much worse than the latest blessed model it may be, or both."""

    metric: str
    slice: Slice = Slice()
    at_least: float | None = None
    at_most: float | None = None
    worse_by_at_most: float | None = None

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"metric: expected one of {', '.join(METRICS)}, got {self.metric!r}")
        if self.slice.range_m is not None and self.metric not in _OF_SOURCES:
            raise ValueError(f"metric: expected {' or '.join(_OF_SOURCES)} in a slice by range, got {self.metric}")
        limits = (self.at_least, self.at_most, self.worse_by_at_most)
        if all(limit is None for limit in limits):
            raise ValueError("threshold: expected at_least, at_most or worse_by_at_most, got none of them")
        if any(limit is not None and not math.isfinite(limit) for limit in limits):
            raise ValueError(f"threshold: expected finite numbers, got {limits}")
        if self.worse_by_at_most is not None and self.worse_by_at_most < 0:
            raise ValueError(f"worse_by_at_most: expected 0 or more, got {self.worse_by_at_most}")


def read_thresholds(given: Any) -> tuple[Threshold, ...]:
    """Thresholds from tables of TOML, such as {metric = "f1", snr_db = [0, 5], at_least = 0.8}.

    Raises:
      ValueError: not a list of such tables; the message has the number of the wrong one.
    """
    if not isinstance(given, list):
        raise ValueError(f"thresholds: expected a list of tables, got {type(given).__name__}")
    return tuple(_threshold(number, table) for number, table in enumerate(given, 1))


def _threshold(number: int, table: Mapping[str, Any]) -> Threshold:
    try:
        values = dict(table)
        where = {field.name: values.pop(field.name) for field in dataclasses.fields(Slice) if field.name in values}
        for name in ("snr_db", "range_m"):
            if name in where:
                low, high = where[name]
                if not low < high:
                    raise ValueError(f"{name}: expected low < high, got {where[name]}")
                where[name] = (float(low), float(high))
        return Threshold(**{**values, "slice": Slice(**where)})
    except (TypeError, ValueError) as error:
        raise ValueError(f"threshold {number}: {error}") from None
