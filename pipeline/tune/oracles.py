"""KerasTuner's oracles, made to survive SIGKILL, damaged state files and lost workers.

KerasTuner writes its state in place and in several files, repeats a trial that is killed between two of them, and waits
forever for a worker that has ended. `ResumableOracle` changes that; the search itself is KerasTuner's. Only public
names of KerasTuner are used.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras_tuner as kt
from keras_tuner.engine.trial import Trial, TrialStatus
from threadpoolctl import threadpool_limits

from pipeline.common.records import replacing
from pipeline.tune.trial import own_values

_DIGITS = 4  # of a value, so that it is the same in JSON, in gRPC's float32 and in best.json
_MAX_FAILED = 5


def _write(path: Path, state: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(state), encoding="utf-8")


class ActiveWorkers(set):
    """Tuner IDs; `len` counts those with a request in the last `seconds`. KerasTuner's chief ends when it is 0."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.last_seen: dict[str, float] = {}

    def add(self, tuner_id: str) -> None:
        super().add(tuner_id)
        self.last_seen[tuner_id] = time.monotonic()

    def remove(self, tuner_id: str) -> None:
        self.discard(tuner_id)

    def __len__(self) -> int:
        return sum(time.monotonic() - self.last_seen[tuner_id] < self.seconds for tuner_id in self)


class ResumableOracle(kt.Oracle):
    """The base of all oracles here.

    One file holds the whole state and is replaced atomically. A damaged file is dropped: the same seed then leads to
    the same trials, whose outcomes are on disk. KerasTuner's own files of the trials are written but never read.
    """

    trials: dict[str, Trial]
    ongoing_trials: dict[str, Trial]
    lease_s = 120.0
    """A trial goes to another worker if its own shows no activity for this long."""
    log: Callable[[str], None] = staticmethod(lambda line: None)
    """Receives a line about damaged files and lost workers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, max_consecutive_failed_trials=math.inf, **kwargs)
        self.verbose = 0
        self.tuner_ids = ActiveWorkers(seconds=5.0)
        self.state_file: Path | None = None
        self.unfinished: list[str] = []
        """IDs of trials that started and wait for a worker."""
        self.last_seen: dict[str, float] = {}
        """Time of the last request about a trial, by its ID."""
        self.initial_state = json.dumps(self.get_state())

    def open(self, folder: Path) -> None:
        """Keeps the state in this folder, and loads it if there is one."""
        self.state_file = folder / "oracle.json"
        if self.state_file.exists():
            self.reload()

    def save(self) -> None:
        """Writes the state; KerasTuner calls it when a trial starts and when it ends."""
        if self.state_file is not None:
            trials = {trial_id: trial.get_state() for trial_id, trial in self.trials.items()}
            _write(self.state_file, {**self.get_state(), "trials": trials})

    def reload(self) -> None:
        """Reads the state back; trials that did not end wait for a worker."""
        assert self.state_file is not None
        try:
            state = json.loads(self.state_file.read_text(encoding="utf-8"))
            self.trials = {trial_id: Trial.from_state(trial) for trial_id, trial in state["trials"].items()}
            self.set_state(state)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.log(f"{self.state_file} is damaged ({error}): its trials are read from their outcomes")
            self.trials = {}
            self.set_state(json.loads(self.initial_state))
        self.ongoing_trials = {}
        self.unfinished = [trial_id for trial_id in self.start_order if trial_id not in self.end_order]

    def create_trial(self, tuner_id: str) -> Trial:
        self._release_lost_trials()
        if self._recent_trials_failed():
            trial = Trial(self.get_space(), trial_id="", status=TrialStatus.STOPPED)
        elif self.unfinished and tuner_id not in self.ongoing_trials:
            trial = self._restart_trial(tuner_id)
        else:
            trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.STOPPED and self.ongoing_trials:
            self.tuner_ids.add(tuner_id)  # this worker may have to take over a trial
            trial.status = TrialStatus.IDLE
        self.last_seen[trial.trial_id] = time.monotonic()
        return trial

    def _recent_trials_failed(self) -> bool:
        """True if the last `_MAX_FAILED` trials all failed: the next ones would fail, too."""
        last = [self.trials[trial_id].status for trial_id in self.end_order[-_MAX_FAILED:]]
        return last == [TrialStatus.FAILED] * _MAX_FAILED

    def _release_lost_trials(self) -> None:
        """Trials of inactive workers wait for another worker."""
        for tuner_id, trial in list(self.ongoing_trials.items()):
            inactive_s = time.monotonic() - self.last_seen.get(trial.trial_id, -math.inf)
            if inactive_s > self.lease_s:
                self.log(f"worker {tuner_id} is inactive for {inactive_s:.0f} s: trial {trial.trial_id} is reassigned")
                del self.ongoing_trials[tuner_id]
                self.unfinished.append(trial.trial_id)
        self.unfinished = [trial_id for trial_id in self.unfinished if trial_id not in self.end_order]

    def _restart_trial(self, tuner_id: str) -> Trial:
        """Gives a worker the first unfinished trial, without metrics of its first run: KerasTuner would average."""
        trial_id = self.unfinished.pop(0)
        trial = Trial(self.trials[trial_id].hyperparameters, trial_id)
        self.trials[trial_id] = self.ongoing_trials[tuner_id] = trial
        self.tuner_ids.add(tuner_id)
        self.save()
        return trial

    def get_trial(self, trial_id: str) -> Trial:
        """The trial with this ID; workers also call it to show that they are active."""
        self.last_seen[trial_id] = time.monotonic()
        return super().get_trial(trial_id)

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Trial:
        if trial_id in self.end_order:  # reported by a worker that was taken for lost
            return self.trials[trial_id]
        return super().update_trial(trial_id, metrics, step=step)

    def end_trial(self, trial: Trial) -> None:
        if trial.trial_id not in self.end_order:
            super().end_trial(trial)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        return rounded(super().populate_space(trial_id))


def rounded(response: dict[str, Any]) -> dict[str, Any]:
    """A response of populate_space with its floats rounded to `_DIGITS` significant digits."""
    values = response.get("values") or {}
    short = {k: float(f"{v:.{_DIGITS}g}") if isinstance(v, float) else v for k, v in values.items()}
    return {**response, "values": short or None}


class RandomOracle(ResumableOracle, kt.oracles.RandomSearchOracle):
    """KerasTuner's random search."""


class BayesianOracle(ResumableOracle, kt.oracles.BayesianOptimizationOracle):
    """KerasTuner's Bayesian search.

    Its state does not include the random generator. Each trial therefore draws from a new oracle, seeded by the number
    of trials, so that a resumed study draws the same values.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        fresh = kt.oracles.BayesianOptimizationOracle(self.objective, seed=self.seed + len(self.trials))
        fresh.trials = self.trials
        fresh.set_state(self.get_state())
        with threadpool_limits(1):  # threads on matrices this small wait for each other: eight times the CPU time
            response = fresh.populate_space(trial_id)
        self.set_state(fresh.get_state())
        return rounded(response)


class HyperbandOracle(ResumableOracle, kt.oracles.HyperbandOracle):
    """KerasTuner's Hyperband, with as many iterations as the trials allow."""


def search_oracle(
    search: str, objective: kt.Objective, space: kt.HyperParameters, trials: int, epochs: int, seed: int
) -> ResumableOracle:
    """The oracle of Stage 1.

    Args:
      search: "random", "bayesian" or "hyperband".
      epochs: of the longest training, for Hyperband.
      seed: 1 or more; KerasTuner treats 0 as unset.
    """
    common: dict[str, Any] = {"objective": objective, "hyperparameters": space, "seed": seed}
    if search == "hyperband":
        oracle = HyperbandOracle(max_epochs=epochs, hyperband_iterations=None, **common)
        oracle.max_trials = trials
        return oracle
    if search == "bayesian":
        return BayesianOracle(max_trials=trials, num_initial_points=max(4, trials // 4), **common)
    return RandomOracle(max_trials=trials, **common)


def _completed(oracle: kt.Oracle) -> list[Trial]:
    return [trial for trial in oracle.trials.values() if trial.status == TrialStatus.COMPLETED]


def best_values(oracle: kt.Oracle, count: int) -> list[dict[str, Any]]:
    """The values of the best completed trials, best first, without repeats.

    KerasTuner's `get_best_trials` would fill up the list with trials that did not complete.
    """
    found: list[dict[str, Any]] = []
    for trial in sorted(_completed(oracle), key=lambda trial: (trial.score, trial.trial_id)):
        values = own_values(trial.hyperparameters.values)
        if values not in found:
            found.append(values)
    return found[:count]


def ends_first(candidates: Sequence[Any]) -> list[Any]:
    """Orders ranked candidates first, last, second, last but one, ..., so that the first few span the ranking."""
    pairs = zip(candidates, reversed(candidates), strict=True)
    return [item for pair in pairs for item in pair][: len(candidates)]


class RerankOracle(ResumableOracle):
    """Runs given values again, in their order, with another objective.

    `should_stop` is called before each trial with the values of the completed ones; True ends the stage.
    """

    def __init__(
        self,
        candidates: Sequence[dict[str, Any]],
        objective: kt.Objective,
        space: kt.HyperParameters,
        should_stop: Callable[[list[dict[str, Any]]], bool],
    ) -> None:
        self.candidates, self.should_stop = list(candidates), should_stop
        super().__init__(objective=objective, max_trials=len(self.candidates), hyperparameters=space, seed=1)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        done = [own_values(trial.hyperparameters.values) for trial in _completed(self)]
        if int(trial_id) >= len(self.candidates) or self.should_stop(done):
            return {"status": TrialStatus.STOPPED, "values": None}
        return {"status": TrialStatus.RUNNING, "values": self.candidates[int(trial_id)]}

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "candidates": self.candidates}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self.candidates = state["candidates"]
