"""One trial: maps values to scores. Results that already exist for the same values are read, not computed again.

The trainings of a trial differ in their seeds; training n has the study's seed plus n.
"""

import contextlib
import dataclasses
import hashlib
import json
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.common.artifacts import Busy, folder_lock
from pipeline.common.hyperparameters import flattened, replaced
from pipeline.common.records import plain, replacing, write_json
from pipeline.fitting.validation import BATCH
from pipeline.metrics.match_counts import COUNTS, MatchCounts
from pipeline.scenes.reading import load_scenes
from pipeline.train.options import TrainOptions
from pipeline.tune.inference import evaluate_trial
from pipeline.tune.objective import ObjectiveScorer, Scored
from pipeline.tune.options import InferenceOptions
from pipeline.tune.surrogate import Batches, Heartbeat
from pipeline.tune.training import Trained, train_trial

TUNER_KEYS = "tuner/"
_SCORES = ("surrogate", "objective", "f1", "rmse_xyz_m")


def own_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a trial without those of Hyperband; floats have 6 digits, because gRPC carries them as float32."""
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in values.items()
        if not name.startswith(TUNER_KEYS)
    }


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a trial.

    surrogate: of the best epoch, lower is better. objective, f1, rmse_xyz_m: MVDR-final on the first `scenes`
    validation scenes. best_epoch, epochs: the epoch whose weights were scored, and how many were trained. surrogate_ms,
    objective_ms: CPU time per scene without tracing; None if only one call was made, which includes it.
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
    """Mean scores and total seconds over the trainings of a trial; all other fields are those of the first."""
    scores = {name: float(np.mean([getattr(outcome, name) for outcome in outcomes])) for name in _SCORES}
    return Outcome(**{**dataclasses.asdict(outcomes[0]), **scores, "seconds": sum(o.seconds for o in outcomes)})


Base = TrainOptions | InferenceOptions
"""The options of a trial before its values are applied."""


class Trials:
    """Runs the trials of one study; every training has a folder named after its values and its seed.

    The values change the options `base`, whose run_dir holds the folders. `batches` are the scenes of the surrogate.
    """

    def __init__(self, base: Base, batches: Batches, patience: int) -> None:
        self.base, self.batches, self.patience = base, batches, patience
        self.score_objective = ObjectiveScorer()

    def options(self, values: Mapping[str, Any], nth: int = 0) -> Base:
        """Options of training `nth` of a trial, the same as of `ris-mvdr train`, or of its inference."""
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
        """Calls `run` for each of the seeds."""
        return tuple(self.run(values, scenes, epochs, heartbeat, nth) for nth in range(seeds))

    def run(
        self,
        values: Mapping[str, Any],
        scenes: int,
        epochs: int | None = None,
        heartbeat: Heartbeat = lambda: None,
        nth: int = 0,
    ) -> Outcome:
        """Trains for `epochs`, by default all, and scores MVDR-final on the first `scenes`; results on disk are reused.

        `nth` tells the trainings of a trial apart. NotFinite if the training diverged.
        """
        options = self.options(values, nth)
        epochs = options.epochs if epochs is None else epochs
        options.run_dir.mkdir(parents=True, exist_ok=True)
        with _exclusive(options.run_dir, heartbeat):
            record = options.run_dir / f"outcome-{epochs}-{scenes}.json"
            known = _read_outcome(record)
            if known is not None and _read_tally(self._tally_path(options, epochs, scenes)) is not None:
                return known
            keras.backend.clear_session()
            started = time.monotonic()
            trained = self._trained(options, epochs, heartbeat)
            scored = self._mvdr_final(trained, options, "validation", scenes, heartbeat)
            _write_tally(self._tally_path(options, epochs, scenes), scored.tally)
            total = scored.tally.total()
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
                objective_ms=scored.ms_per_scene,
            )
            write_json(record, outcome)
            return outcome

    def tally(self, values: Mapping[str, Any], scenes: int, nth: int = 0) -> MatchCounts:
        """Counts per scene of a complete training on the first validation scenes; runs it if needed."""
        self.run(values, scenes, nth=nth)
        options = self.options(values, nth)
        found = _read_tally(self._tally_path(options, options.epochs, scenes))
        assert found is not None
        return found

    def test(self, values: Mapping[str, Any], scenes: int, nth: int = 0) -> MatchCounts:
        """Counts per scene of a complete training on the first test scenes; runs it if needed."""
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
            return evaluate_trial(options, self.batches, heartbeat)
        return train_trial(options, self.batches, epochs, self.patience, heartbeat)

    def _tally_path(self, options: Base, epochs: int, scenes: int) -> Path:
        return options.run_dir / f"tally-{epochs}-{scenes}.npz"

    def _mvdr_final(self, trained: Trained, options: Base, split: str, scenes: int, heartbeat: Heartbeat) -> Scored:
        batches = load_scenes(options.data_dir, options.config[0], split, take=scenes, batch_size=BATCH)
        return self.score_objective(trained.localizer, batches, heartbeat)


def _write_tally(path: Path, tally: MatchCounts) -> None:
    with replacing(path) as temporary:
        np.savez(temporary, max_error_m=tally.max_error_m, **{name: getattr(tally, name) for name in COUNTS})


def _read_tally(path: Path) -> MatchCounts | None:
    """None if the file is missing or damaged."""
    try:
        with np.load(path) as stored:
            counts = {name: stored[name] for name in COUNTS}
            return MatchCounts(max_error_m=float(stored["max_error_m"]), **counts)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _read_outcome(path: Path) -> Outcome | None:
    """None if the file is missing or damaged; the outcome is then computed again from the checkpoint."""
    try:
        return Outcome(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@contextlib.contextmanager
def _exclusive(folder: Path, heartbeat: Heartbeat) -> Iterator[None]:
    """Waits until no other process works in the folder: a worker that was taken for lost may still be running."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(folder_lock(folder))
                break
            except Busy:
                heartbeat()
                time.sleep(0.2)
        yield


def whole_record(options: Base) -> dict[str, Any]:
    """The options, by dotted name, that --hyperparameters of `ris-mvdr train` or, for inference, of `export` reads."""
    if isinstance(options, InferenceOptions):
        return {name: plain(value) for name, value in flattened(options).items() if name.startswith("localizer.")}
    left_out = ("run_dir", "data_dir", "hyperparameters")
    return {name: plain(value) for name, value in flattened(options).items() if name not in left_out}
