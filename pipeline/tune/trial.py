"""One trial: values in, scores out; whatever was computed once for these values is read back and not computed again.

A trial's trainings differ in their seeds; the n-th has the study's seed plus n.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.common.hyperparameters import flattened, replaced
from pipeline.common.records import plain, replacing, write_json
from pipeline.metrics.match_counts import MatchCounts
from pipeline.scenes.reading import load_scenes
from pipeline.train.options import TrainOptions
from pipeline.tune.inference import ObjectiveOfFew, evaluate_trial
from pipeline.tune.objective import Judge, Judged
from pipeline.tune.options import InferenceOptions
from pipeline.tune.surrogate import BATCH, Heartbeat, Surrogate
from pipeline.tune.training import Trained, train_trial

TUNER_KEYS = "tuner/"
_SCORES = ("surrogate", "objective", "f1", "rmse_xyz_m")
_COUNTS = ("true", "found", "hits", "pairs", "squared_error_m2")


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


def mean_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """The scores' means over a trial's trainings, the seconds of all, and what else the first has."""
    scores = {name: float(np.mean([getattr(one, name) for one in outcomes])) for name in _SCORES}
    return Outcome(**{**dataclasses.asdict(outcomes[0]), **scores, "seconds": sum(one.seconds for one in outcomes)})


Base = TrainOptions | InferenceOptions
"""What a trial is without its values."""


class Trials:
    """Runs trials of one study, each training in a folder named by its values and its seed.

    Args:
      base: what trials vary; its run_dir is where the folders lie.
      surrogate: scores epochs, or given weights.
      patience: see `train_trial`.
    """

    def __init__(self, base: Base, surrogate: Surrogate | ObjectiveOfFew, patience: int) -> None:
        self.base, self.surrogate, self.patience = base, surrogate, patience
        self.judge = Judge()

    def options(self, values: Mapping[str, Any], nth: int = 0) -> Base:
        """The n-th training of a trial, as `python -m pipeline.train` would be told it, or its inference."""
        values = own_values(values)
        name = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
        options = replaced(self.base, values)
        if nth > 0:
            options, name = dataclasses.replace(options, seed=options.seed + nth), f"{name}-{nth + 1}"
        return dataclasses.replace(options, run_dir=self.base.run_dir / name)

    def run_all(
        self,
        values: Mapping[str, Any],
        scenes: int,
        seeds: int,
        epochs: int | None = None,
        heartbeat: Heartbeat = lambda: None,
    ) -> tuple[Outcome, ...]:
        """What `run` says with each of so many seeds."""
        return tuple(self.run(values, scenes, epochs, heartbeat, nth) for nth in range(seeds))

    def run(
        self,
        values: Mapping[str, Any],
        scenes: int,
        epochs: int | None = None,
        heartbeat: Heartbeat = lambda: None,
        nth: int = 0,
    ) -> Outcome:
        """Trains up to `epochs` (all of them if left out) and scores MVDR-final on the first validation scenes.

        Raises:
          NotFinite: the training diverged.
        """
        options = self.options(values, nth)
        epochs = options.epochs if epochs is None else epochs
        options.run_dir.mkdir(parents=True, exist_ok=True)
        with _alone(options.run_dir, heartbeat):
            record = options.run_dir / f"outcome-{epochs}-{scenes}.json"
            known = _read_outcome(record)
            if known is not None and _read_tally(self._tally_path(options, epochs, scenes)) is not None:
                return known
            keras.backend.clear_session()
            started = time.monotonic()
            trained = self._trained(options, epochs, heartbeat)
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

    def tally(self, values: Mapping[str, Any], scenes: int, nth: int = 0) -> MatchCounts:
        """Counts per scene of a training that was run to the end, or is now."""
        self.run(values, scenes, nth=nth)
        options = self.options(values, nth)
        found = _read_tally(self._tally_path(options, options.epochs, scenes))
        assert found is not None
        return found

    def test(self, values: Mapping[str, Any], scenes: int, nth: int = 0) -> MatchCounts:
        """Counts per scene on the first test scenes, once trained to the end."""
        options = self.options(values, nth)
        path = options.run_dir / f"tally-test-{scenes}.npz"
        found = _read_tally(path)
        if found is None:
            keras.backend.clear_session()
            trained = self._trained(options, options.epochs, lambda: None)
            found = self._mvdr_final(trained, options, "test", scenes, lambda: None).tally
            _write_tally(path, found)
        return found

    def _trained(self, options: Base, epochs: int, heartbeat: Heartbeat) -> Trained:
        if isinstance(options, InferenceOptions):
            assert isinstance(self.surrogate, ObjectiveOfFew)
            return evaluate_trial(options, self.surrogate, heartbeat)
        assert isinstance(self.surrogate, Surrogate)
        return train_trial(options, self.surrogate, epochs, self.patience, heartbeat)

    def _tally_path(self, options: Base, epochs: int, scenes: int) -> Path:
        return options.run_dir / f"tally-{epochs}-{scenes}.npz"

    def _mvdr_final(self, trained: Trained, options: Base, split: str, scenes: int, heartbeat: Heartbeat) -> Judged:
        batches = load_scenes(options.data_dir, options.config[0], split, take=scenes, batch_size=BATCH)
        return self.judge(trained.localizer, batches, scenes, heartbeat)


def _write_tally(path: Path, tally: MatchCounts) -> None:
    with replacing(path) as temporary:
        np.savez(temporary, max_error_m=tally.max_error_m, **{name: getattr(tally, name) for name in _COUNTS})


def _read_tally(path: Path) -> MatchCounts | None:
    """None where there is none, or a torn one."""
    try:
        with np.load(path) as stored:
            counts = {name: stored[name] for name in _COUNTS}
            return MatchCounts(max_error_m=float(stored["max_error_m"]), **counts)
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


def whole_record(options: Base) -> dict[str, Any]:
    """All that `python -m pipeline.train --hyperparameters`, or of inference export, needs, by dotted name."""
    if isinstance(options, InferenceOptions):
        return {name: plain(value) for name, value in flattened(options).items() if name.startswith("localizer.")}
    left_out = ("run_dir", "data_dir", "hyperparameters")
    return {name: plain(value) for name, value in flattened(options).items() if name not in left_out}
