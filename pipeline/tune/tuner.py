"""KerasTuner's search loop around our trials, for both stages, in one process or several."""

import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner as kt
import tensorflow as tf
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from tensorboard.plugins.hparams import api as hparams

from pipeline.fitting.loop import NotFinite
from pipeline.tune.oracles import ResumableOracle
from pipeline.tune.trial import Outcome, Trials, mean_outcome, own_values

SURROGATE, MVDR_FINAL = "surrogate", "mvdr_final"
_HEARTBEAT_S = 1.0


def is_worker() -> bool:
    """True if another process, the chief, holds the oracle; read from KerasTuner's environment variables."""
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" not in os.environ.get("KERASTUNER_TUNER_ID", "")


class TwoStageTuner(BaseTuner):
    """Runs the trials that an oracle requests; its state lies in directory / project_name.

    Args:
      oracle: of either stage; its objective is `SURROGATE` or `MVDR_FINAL`.
      scenes: validation scenes of MVDR-final.
      seeds: trainings per trial; their mean is its score.
      total: expected number of trials.
    """

    def __init__(
        self,
        oracle: ResumableOracle,
        trials: Trials,
        scenes: int,
        seeds: int,
        directory: Path,
        project_name: str,
        total: int,
        logger: logging.Logger,
    ) -> None:
        self.trials, self.scenes, self.seeds, self.total, self.log = trials, scenes, seeds, total, logger.info
        self.seconds: list[float] = []
        """What each trial of this process took."""
        self.is_waiting = False
        super().__init__(oracle, directory=str(directory), project_name=project_name)
        if not is_worker():
            oracle.open(directory / project_name)

    def save(self) -> None:
        """Saves the oracle; a tuner has no state of its own."""
        if not is_worker():
            self.oracle.save()

    def pre_create_trial(self) -> None:
        if self.is_waiting:  # the oracle had no trial for this worker
            time.sleep(0.5)
        self.is_waiting = True

    def on_trial_begin(self, trial: Trial) -> None:
        self.is_waiting = False

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> dict[str, float]:
        values = trial.hyperparameters.values
        try:
            epochs, heartbeat = values.get("tuner/epochs"), self._heartbeat(trial.trial_id)
            outcome = mean_outcome(self.trials.run_all(values, self.scenes, self.seeds, epochs, heartbeat))
            self._log(trial, outcome)
            self._write_tensorboard(trial, outcome)
        except NotFinite as error:
            self.log(f"{self._label(trial)}  failed: {error}")
            trial.message = str(error)
            return {self.oracle.objective.name: math.inf}
        except Exception as error:  # KerasTuner would count it as a failed trial and continue
            raise kt.errors.FatalRuntimeError(str(error)) from error
        return {self.oracle.objective.name: self._score(outcome)}

    def on_trial_end(self, trial: Trial) -> None:
        """Marks a diverged trial as failed: KerasTuner would print a traceback if `run_trial` raised an error."""
        if trial.message is not None:
            trial.status = TrialStatus.FAILED
        super().on_trial_end(trial)

    def _score(self, outcome: Outcome) -> float:
        return outcome.surrogate if self.oracle.objective.name == SURROGATE else outcome.objective

    def _heartbeat(self, trial_id: str) -> Callable[[], None]:
        """Tells the chief that this worker is active, at most once per `_HEARTBEAT_S`."""
        last = -math.inf

        def beat() -> None:
            nonlocal last
            if is_worker() and time.monotonic() - last > _HEARTBEAT_S:
                self.oracle.get_trial(trial_id)
                last = time.monotonic()

        return beat

    def _label(self, trial: Trial) -> str:
        return f"{self.project_name} trial {int(trial.trial_id) + 1}/{self.total}"

    def _log(self, trial: Trial, outcome: Outcome) -> None:
        self.seconds.append(outcome.seconds)
        done = [best.score for best in self.oracle.get_best_trials(1) if best.status == TrialStatus.COMPLETED]
        best = min([self._score(outcome), *done])
        left_s = sum(self.seconds) / len(self.seconds) * (self.total - int(trial.trial_id) - 1)
        self.log(
            f"{self._label(trial)}  surrogate {outcome.surrogate:.4f}  objective {outcome.objective:.4f}  "
            f"F1 {outcome.f1:.3f}  best {self.oracle.objective.name} so far {best:.4f}  "
            f"{outcome.seconds:.0f} s  {left_s:.0f} s left"
        )

    def _write_tensorboard(self, trial: Trial, outcome: Outcome) -> None:
        folder = Path(self.directory) / "tensorboard" / self.project_name / trial.trial_id
        values = own_values(trial.hyperparameters.values)
        with tf.summary.create_file_writer(str(folder)).as_default(step=outcome.epochs):
            hparams.hparams(values, trial_id=f"{self.project_name}/{trial.trial_id}")
            for name in ("surrogate", "objective", "f1", "rmse_xyz_m"):
                tf.summary.scalar(name, getattr(outcome, name))
