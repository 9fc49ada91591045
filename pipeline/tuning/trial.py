"""One trial: values in, scores out; whatever was computed once for these values is read back and not computed again."""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.common.hyperparameters import flattened, replaced
from pipeline.common.records import plain, replacing, write_json
from pipeline.evaluation.tally import Tally
from pipeline.scenes.reading import load_scenes
from pipeline.train import TrainOptions
from pipeline.tuning.objective import Judge, Judged
from pipeline.tuning.surrogate import Heartbeat, Surrogate
from pipeline.tuning.training import Trained, train_trial

TUNER_KEYS = "tuner/"
_COUNTS = ("true", "found", "hits", "pairs", "squared_error_m2")
_BATCH = 20  # as `pipeline.training.fitting.validate`, so that its scores are these


def own_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's values without Hyperband's, floats to 6 digits: gRPC carries them as float32."""
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in values.items()
        if not name.startswith(TUNER_KEYS)
    }


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a trial came to.

    surrogate: of the best epoch. objective, f1, rmse_xyz_m: MVDR-final on `scenes` validation scenes, the first ones.
    best_epoch, epochs: the epoch whose weights count, and how many were trained. seconds: what it took. surrogate_ms,
    objective_ms: CPU time of either per scene, tracing left out; None where nothing but the first was computed.
    """

    surrogate: float
    objective: float
    f1: float
    rmse_xyz_m: float
    scenes: int
    best_epoch: int
    epochs: int
    seconds: float
    surrogate_ms: float | None = None
    objective_ms: float | None = None


class Trials:
    """Runs trials of one study, each in a folder named by its values.

    Args:
      base: the training that trials vary; its run_dir is where the folders lie.
      surrogate: scores epochs.
      patience: see `train_trial`.
    """

    def __init__(self, base: TrainOptions, surrogate: Surrogate, patience: int) -> None:
        self.base, self.surrogate, self.patience = base, surrogate, patience
        self.judge = Judge()

    def options(self, values: Mapping[str, Any]) -> TrainOptions:
        """The training of a trial, as `python -m pipeline.train` would be told it."""
        values = own_values(values)
        name = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
        return dataclasses.replace(replaced(self.base, values), run_dir=self.base.run_dir / name)

    def run(
        self, values: Mapping[str, Any], scenes: int, epochs: int | None = None, heartbeat: Heartbeat = lambda: None
    ) -> Outcome:
        """Trains up to `epochs` (all of them if left out) and scores MVDR-final on the first validation scenes.

        Raises:
          NotFinite: the training diverged.
        """
        options = self.options(values)
        epochs = options.epochs if epochs is None else epochs
        options.run_dir.mkdir(parents=True, exist_ok=True)
        with _alone(options.run_dir, heartbeat):
            record = options.run_dir / f"outcome-{epochs}-{scenes}.json"
            known = _read_outcome(record)
            if known is not None and _read_tally(self._tally_path(options, epochs, scenes)) is not None:
                return known
            keras.backend.clear_session()
            started = time.monotonic()
            trained = train_trial(options, self.surrogate, epochs, self.patience, heartbeat)
            judged = self._mvdr_final(trained, options, "validation", scenes, heartbeat)
            _write_tally(self._tally_path(options, epochs, scenes), judged.tally)
            total = judged.tally.total()
            outcome = Outcome(
                surrogate=trained.surrogate,
                objective=float(total.objective),
                f1=float(total.f1),
                rmse_xyz_m=float(total.rmse_xyz_m),
                scenes=scenes,
                best_epoch=trained.best_epoch,
                epochs=len(trained.surrogates) - 1,
                seconds=time.monotonic() - started,
                surrogate_ms=trained.surrogate_ms,
                objective_ms=judged.ms_per_scene,
            )
            write_json(record, outcome)
            return outcome

    def tally(self, values: Mapping[str, Any], scenes: int) -> Tally:
        """Counts per scene of a trial that was run to the end, or is now."""
        self.run(values, scenes)
        options = self.options(values)
        found = _read_tally(self._tally_path(options, options.epochs, scenes))
        assert found is not None
        return found

    def test(self, values: Mapping[str, Any], scenes: int) -> Tally:
        """Counts per scene on the first test scenes, once trained to the end."""
        options = self.options(values)
        path = options.run_dir / f"tally-test-{scenes}.npz"
        found = _read_tally(path)
        if found is None:
            keras.backend.clear_session()
            trained = train_trial(options, self.surrogate, options.epochs, self.patience)
            found = self._mvdr_final(trained, options, "test", scenes, lambda: None).tally
            _write_tally(path, found)
        return found

    def _tally_path(self, options: TrainOptions, epochs: int, scenes: int) -> Path:
        return options.run_dir / f"tally-{epochs}-{scenes}.npz"

    def _mvdr_final(
        self, trained: Trained, options: TrainOptions, split: str, scenes: int, heartbeat: Heartbeat
    ) -> Judged:
        batches = load_scenes(options.data_dir, options.config[0], split, take=scenes, batch_size=_BATCH)
        return self.judge(trained.localizer, batches, scenes, heartbeat)


def _write_tally(path: Path, tally: Tally) -> None:
    with replacing(path) as temporary:
        np.savez(temporary, max_error_m=tally.max_error_m, **{name: getattr(tally, name) for name in _COUNTS})


def _read_tally(path: Path) -> Tally | None:
    """None where there is none, or a torn one."""
    try:
        with np.load(path) as stored:
            counts = {name: stored[name] for name in _COUNTS}
            return Tally(max_error_m=float(stored["max_error_m"]), **counts)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _read_outcome(path: Path) -> Outcome | None:
    """None where there is none, or a torn one, which is computed again from the checkpoint."""
    try:
        return Outcome(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@contextlib.contextmanager
def _alone(folder: Path, heartbeat: Heartbeat) -> Iterator[None]:
    """Waits until no other process works in the folder: a worker taken for dead may still be at it."""
    with open(folder / "lock", "w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                heartbeat()
                time.sleep(0.2)
        yield


def whole_record(options: TrainOptions) -> dict[str, Any]:
    """All that `python -m pipeline.train --hyperparameters` needs to train the same, by dotted name."""
    left_out = ("run_dir", "data_dir", "hyperparameters")
    return {name: plain(value) for name, value in flattened(options).items() if name not in left_out}
