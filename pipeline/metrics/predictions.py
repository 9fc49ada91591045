"""Runs estimators on scenes, and stores their outputs."""

import dataclasses
import time
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.common.records import replacing
from pipeline.metrics.estimators import Arrays, Estimator
from pipeline.metrics.evaluation import Evaluation, MetricsConfig, match_and_count
from pipeline.metrics.matching import found_sources, require_arrays, true_sources

TRUTH = ("num_sources", "azimuth", "elevation", "range_m")
_TRUE, _FOUND = "true_", "found_"


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Outputs of an estimator for B scenes, together with the true sources.

    snr_db: [B], dB. truth: num_sources, azimuth, elevation, range_m and, if known, bound_m. seconds, batch_scenes: run
    time and number of scenes of each batch; empty if read from a file.
    """

    snr_db: np.ndarray
    truth: Arrays
    outputs: Arrays
    seconds: tuple[float, ...] = ()
    batch_scenes: tuple[int, ...] = ()

    def scenes_per_second(self) -> float | None:
        """Throughput without the first batch, which includes tracing; None with fewer than two batches."""
        return sum(self.batch_scenes[1:]) / sum(self.seconds[1:]) if len(self.seconds) > 1 else None

    def first(self, count: int) -> "Predictions":
        """The predictions for the first `count` scenes, without run times."""
        truth, outputs = ({key: value[:count] for key, value in group.items()} for group in (self.truth, self.outputs))
        return Predictions(self.snr_db[:count], truth, outputs)


def _stacked(batches: list[Arrays], keys: Iterable[str]) -> Arrays:
    return {key: np.concatenate([batch[key] for batch in batches]) for key in keys}


def run_estimator(
    estimator: Estimator, batches: Iterable[Mapping[str, Any]], num_scenes: int, *, show_progress: bool = True
) -> Predictions:
    """Runs an estimator on all batches and measures its run time.

    A batch holds arrays or tensors with a leading batch axis: the inputs, the true sources and, if the Cramer-Rao bound
    is known, bound_m. `num_scenes`, the number in all batches, is for the progress bar.
    """
    truths: list[Arrays] = []
    answers: list[Arrays] = []
    seconds: list[float] = []
    with tqdm(total=num_scenes, unit="scene", desc="evaluate", disable=not show_progress, leave=False) as progress:
        for batch in batches:
            require_arrays("scenes", batch, (*TRUTH, "snr_db"))
            truths.append({key: np.asarray(batch[key]) for key in (*TRUTH, "snr_db", "bound_m") if key in batch})
            start = time.perf_counter()
            outputs = estimator(batch)
            answers.append({key: np.asarray(value) for key, value in outputs.items()})
            seconds.append(time.perf_counter() - start)
            progress.update(len(truths[-1]["snr_db"]))
    if not truths:
        raise ValueError("scenes: expected 1 or more, got none")
    truth = _stacked(truths, truths[0])
    sizes = tuple(len(item["snr_db"]) for item in truths)
    return Predictions(truth.pop("snr_db"), truth, _stacked(answers, answers[0]), tuple(seconds), sizes)


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays to an npz file, atomically."""
    with replacing(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def load_arrays(path: Path) -> Arrays:
    """Reads a file of `save_arrays`."""
    try:
        with np.load(path) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name}: expected an evaluation's file at {path}, got: {error}") from None


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Writes an npz file: snr_db, the true sources as true_NAME and the outputs as found_NAME."""
    truth = {_TRUE + key: value for key, value in predictions.truth.items()}
    outputs = {_FOUND + key: value for key, value in predictions.outputs.items()}
    save_arrays(path, {"snr_db": predictions.snr_db, **truth, **outputs})


def load_predictions(path: Path) -> Predictions:
    """Reads a file of `save_predictions`."""
    arrays = load_arrays(path)

    def group(prefix: str) -> Arrays:
        return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}

    require_arrays(str(path), arrays, ("snr_db",))
    return Predictions(arrays["snr_db"], group(_TRUE), group(_FOUND))


def evaluate_predictions(predictions: Predictions, config: MetricsConfig) -> Evaluation:
    """Matches found to true sources and counts hits; see `match_and_count`."""
    truth, found = true_sources(predictions.truth), found_sources(predictions.outputs)
    return match_and_count(truth, found, predictions.snr_db, config)
