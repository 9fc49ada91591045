"""KerasTuner's oracles, made to survive SIGKILL, torn state files and workers that die.

KerasTuner writes JSON in place, runs a trial again if killed between its two files, forgets a trial that was created
but not yet listed, and waits for ever for a worker that is gone. `Durable` mends these; the searches are KerasTuner's.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras_tuner as kt
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus
from threadpoolctl import threadpool_limits

from pipeline.common.records import replacing
from pipeline.tune.trial import own_values

_DIGITS = 4  # of a value: the same in JSON, in gRPC's float32 and in best.json
_MAX_FAILED = 5
_FINISHED = (TrialStatus.COMPLETED, TrialStatus.FAILED)


def _write(path: str, state: Any) -> None:
    with replacing(Path(path)) as temporary:
        temporary.write_text(json.dumps(state), encoding="utf-8")


class Present(set):
    """Tuner ids that were heard of a moment ago; KerasTuner's chief ends when none is left."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.heard: dict[str, float] = {}

    def add(self, tuner_id: str) -> None:
        super().add(tuner_id)
        self.heard[tuner_id] = time.monotonic()

    def remove(self, tuner_id: str) -> None:
        self.discard(tuner_id)

    def __len__(self) -> int:
        return sum(time.monotonic() - self.heard[tuner_id] < self.seconds for tuner_id in self)


class Durable(kt.Oracle):
    """What all oracles here share.

    Written whole or not at all; read back with what a kill left half done put right; state that is torn all the same
    is dropped, and the same seed leads through the same trials again, whose outcomes are on disk.
    """

    trials: dict[str, Trial]
    lease_s = 120.0
    """A trial whose worker shows no sign of life for so long goes to another one."""
    log: Callable[[str], None] = staticmethod(lambda line: None)
    """Told what is unusual."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, max_consecutive_failed_trials=math.inf, **kwargs)
        self.verbose = 0
        self.tuner_ids = Present(seconds=5.0)
        self._heard: dict[str, float] = {}
        self._blank = json.dumps(self.get_state())

    # Files

    def save(self) -> None:
        _write(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial: Trial) -> None:
        _write(str(Path(self._get_trial_dir(trial.trial_id)) / "trial.json"), trial.get_state())

    def reload(self) -> None:
        try:
            super().reload()
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            self.log(f"a state file in {self._project_dir} is torn ({error}): its trials are read back one by one")
            self.trials.clear()
            self.set_state(json.loads(self._blank))
        self._reconcile()

    def _reconcile(self) -> None:
        """Trials created but not yet listed are created again; those that ended are not run again."""
        self.trials = {trial_id: self.trials[trial_id] for trial_id in self.start_order if trial_id in self.trials}
        waiting = dict.fromkeys(
            trial_id for trial_id in self.start_order if trial_id in self.trials and trial_id not in self.end_order
        )
        for trial_id in waiting:
            if self.trials[trial_id].status in _FINISHED:
                self.end_order.append(trial_id)
        unfinished = [trial_id for trial_id in waiting if trial_id not in self.end_order]
        self._retry_queue = unfinished[::-1]  # it is taken from the end
        for trial_id in unfinished:
            self.trials[trial_id].metrics = Trial(None).metrics  # else a second run's would be averaged in

    # Trials

    def create_trial(self, tuner_id: str) -> Trial:
        self._take_back()
        trial = self._stopped() if self._failing() else super().create_trial(tuner_id)
        if trial.status == TrialStatus.STOPPED and self.ongoing_trials:
            self.tuner_ids.add(tuner_id)  # it may have to take over
            trial.status = TrialStatus.IDLE
        self._heard[trial.trial_id] = time.monotonic()
        return trial

    def _stopped(self) -> Trial:
        return Trial(self.hyperparameters.copy(), trial_id="", status=TrialStatus.STOPPED)

    def _failing(self) -> bool:
        """Whether the last few trials all failed: the next ones would, too."""
        last = self.end_order[-_MAX_FAILED:]
        failed = [self.trials[trial_id].status == TrialStatus.FAILED for trial_id in last]
        return len(failed) == _MAX_FAILED and all(failed)

    def _take_back(self) -> None:
        """Trials of workers that went silent wait for another one."""
        for tuner_id, trial in list(self.ongoing_trials.items()):
            silent_s = time.monotonic() - self._heard.get(trial.trial_id, -math.inf)
            if silent_s > self.lease_s:
                self.log(f"worker {tuner_id} is silent for {silent_s:.0f} s: its trial {trial.trial_id} is given away")
                del self.ongoing_trials[tuner_id]
                self._retry_queue.append(trial.trial_id)
        self._retry_queue = [trial_id for trial_id in self._retry_queue if trial_id not in self.end_order]

    def get_trial(self, trial_id: str) -> Trial:
        """Also the sign of life of a worker."""
        self._heard[trial_id] = time.monotonic()
        return super().get_trial(trial_id)

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Trial:
        if trial_id in self.end_order:  # from a worker that was taken for dead
            return self.trials[trial_id]
        return super().update_trial(trial_id, metrics, step=step)

    def end_trial(self, trial: Trial) -> None:
        if trial.trial_id not in self.end_order:
            super().end_trial(trial)

    def score_trial(self, trial: Trial) -> None:
        super().score_trial(trial)
        trial.score = float(trial.score)

    def rounded(self, response: dict[str, Any]) -> dict[str, Any]:
        """A response of populate_space with few digits."""
        values = response.get("values") or {}
        short = {k: float(f"{v:.{_DIGITS}g}") if isinstance(v, float) else v for k, v in values.items()}
        return {**response, "values": short or None}


class RandomOracle(Durable, kt.oracles.RandomSearchOracle):
    """KerasTuner's random search."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        return self.rounded(super().populate_space(trial_id))


class BayesianOracle(Durable, kt.oracles.BayesianOptimizationOracle):
    """KerasTuner's Bayesian search; its random state follows from the trial, as a killed study forgets it."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        self._random_state = np.random.RandomState([self.seed, len(self.trials)])
        with threadpool_limits(1):  # on matrices this small threads wait for each other: eight times the CPU time
            return self.rounded(super().populate_space(trial_id))


class HyperbandOracle(Durable, kt.oracles.HyperbandOracle):
    """KerasTuner's Hyperband, as many iterations as the trials allow."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        return self.rounded(super().populate_space(trial_id))


def search_oracle(
    search: str, objective: kt.Objective, space: kt.HyperParameters, trials: int, epochs: int, seed: int
) -> Durable:
    """The oracle of Stage 1.

    Args:
      search: "random", "bayesian" or "hyperband".
      objective: what is sought.
      space: the search space, all of it.
      trials: how many.
      epochs: the longest training, for Hyperband.
      seed: 1 or more; KerasTuner takes 0 for none.
    """
    common: dict[str, Any] = {"objective": objective, "hyperparameters": space, "seed": seed}
    if search == "hyperband":
        oracle = HyperbandOracle(max_epochs=epochs, hyperband_iterations=None, **common)
        oracle.max_trials = trials
        return oracle
    if search == "bayesian":
        return BayesianOracle(max_trials=trials, num_initial_points=max(4, trials // 4), **common)
    return RandomOracle(max_trials=trials, **common)


def best_values(oracle: kt.Oracle, count: int) -> list[dict[str, Any]]:
    """The best completed trials' own values, best first, each once.

    `get_best_trials` would pad them with trials that did not complete.
    """
    completed = [trial for trial in oracle.trials.values() if trial.status == TrialStatus.COMPLETED]
    found: list[dict[str, Any]] = []
    for trial in sorted(completed, key=lambda trial: (trial.score, trial.trial_id)):
        values = own_values(trial.hyperparameters.values)
        if values not in found:
            found.append(values)
    return found[:count]


def ends_first(candidates: Sequence[Any]) -> list[Any]:
    """First, last, second, last but one, ...: the spread of ranked candidates shows as early as it can."""
    ahead, behind = list(candidates), list(candidates)[::-1]
    pairs = [item for pair in zip(ahead, behind, strict=True) for item in pair]
    return pairs[: len(ahead)]


class RerankOracle(Durable):
    """Replays given values against another objective.

    Args:
      candidates: the values, in the order of the trials.
      objective: what they are scored by.
      space: the search space of Stage 1.
      hopeless: asked before each trial whether going on can't tell the candidates apart.
    """

    def __init__(
        self,
        candidates: Sequence[dict[str, Any]],
        objective: kt.Objective,
        space: kt.HyperParameters,
        hopeless: Callable[[list[dict[str, Any]]], bool],
    ) -> None:
        self.candidates, self.hopeless = list(candidates), hopeless
        super().__init__(objective=objective, max_trials=len(self.candidates), hyperparameters=space, seed=1)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        done = [
            own_values(trial.hyperparameters.values)
            for trial in self.trials.values()
            if trial.status == TrialStatus.COMPLETED
        ]
        if int(trial_id) >= len(self.candidates) or self.hopeless(done):
            return {"status": TrialStatus.STOPPED, "values": None}
        return {"status": TrialStatus.RUNNING, "values": self.candidates[int(trial_id)]}

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "candidates": self.candidates}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self.candidates = state["candidates"]
