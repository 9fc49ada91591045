"""Reads stored evaluations: metrics from metrics.json, and scenes from scenes.npz, matched with the same settings."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.physics.geometry import Scenario
from pipeline.common.run_folders import is_evaluation, read_record
from pipeline.metrics.comparison import compare
from pipeline.metrics.evaluation import Evaluation, MetricsConfig
from pipeline.metrics.match_counts import Difference
from pipeline.metrics.matching import Gate
from pipeline.metrics.predictions import evaluate_predictions, load_predictions
from tfds_shards.scene_sets import scene_set

_SECTIONS = ("scenes", "standard", "strict", "by_snr", "by_range", "num_sources_confusion", "settings")


@dataclasses.dataclass(frozen=True)
class Stored:
    """A stored evaluation.

    name: name of its curves. metrics: content of metrics.json; None for a metric without a value. evaluation: its
    scenes, matched. config: content of config.json, empty if there is none.
    """

    name: str
    folder: Path
    metrics: dict[str, Any]
    evaluation: Evaluation
    config: dict[str, Any]

    @property
    def estimator(self) -> str:
        """Description of the evaluated estimator."""
        return str(self.metrics.get("estimator", "not recorded"))

    @property
    def scenario(self) -> Scenario | None:
        """The installation of the scenes; None if it is not recorded or its file no longer exists."""
        try:
            return scene_set(self.config["options"]["config"]).config.scenario
        except (KeyError, TypeError, ValueError, OSError):
            return None

    def minus(self, other: "Stored") -> dict[str, Difference] | None:
        """Paired differences to another evaluation; None if it has other scenes."""
        try:
            return compare(self.evaluation, other.evaluation)
        except ValueError:
            return None


def read_evaluations(flag: str, folders: Sequence[Path]) -> list[Stored]:
    """Reads evaluations and gives them distinct names; `flag` is the option that names the folders, for messages."""
    for folder in folders:
        if not is_evaluation(folder):
            raise ValueError(
                f"{flag}: expected an evaluation's folder, with metrics.json and scenes.npz, got {folder} without"
            )
    return [_read(folder, name) for folder, name in zip(folders, short_names(folders), strict=True)]


def _read(folder: Path, name: str) -> Stored:
    metrics = read_record(folder / "metrics.json")
    for key in _SECTIONS:
        if key not in metrics:
            raise ValueError(
                f"metrics.json: expected the metrics of an evaluation at {folder / 'metrics.json'}, got no {key}"
            )
    evaluation = evaluate_predictions(load_predictions(folder / "scenes.npz"), _metrics_config(metrics["settings"]))
    if evaluation.truth.num_scenes != metrics["scenes"]:
        raise ValueError(
            f"scenes.npz: expected the {metrics['scenes']} scenes of metrics.json in {folder}, "
            f"got {evaluation.truth.num_scenes}"
        )
    config = folder / "config.json"
    return Stored(name, folder, metrics, evaluation, read_record(config) if config.is_file() else {})


def _metrics_config(settings: dict[str, Any]) -> MetricsConfig:
    """The settings of the metrics in metrics.json."""
    try:
        gates = {name: Gate(**settings[name]) for name in ("standard_gate", "strict_gate")}
        edges = {name: tuple(settings[name]) for name in ("snr_edges_db", "range_edges_m")}
        return MetricsConfig(**{**settings, **gates, **edges})
    except (KeyError, TypeError) as error:
        raise ValueError(f"metrics.json: settings: expected those of an evaluation, got others: {error}") from None


def short_names(folders: Sequence[Path]) -> list[str]:
    """Shortest endings of the paths that are all different; "evaluation" is preceded by the name of its run folder."""
    whole = [folder.absolute().parts for folder in folders]
    depth = next((n for n in range(1, max(map(len, whole))) if len({parts[-n:] for parts in whole}) == len(whole)), 1)
    return ["/".join(parts[-max(depth, 2 if parts[-1] == "evaluation" else 1) :]) for parts in whole]


def limits(bin_edges: Sequence[float | None]) -> tuple[float, float]:
    """Limits of a bin in metrics.json; null stands for an open end."""
    low, high = bin_edges
    return (-math.inf if low is None else low, math.inf if high is None else high)
