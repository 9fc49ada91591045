"""KerasTuner's loop around our trials: both stages run through it, one process or many."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner as kt
import tensorflow as tf
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.src import config
from tensorboard.plugins.hparams import api as hparams

from pipeline.tune.oracles import Durable
from pipeline.tune.training import NotFinite
from pipeline.tune.trial import Outcome, Trials, mean_outcome, own_values

config.DEBUG = False  # else KerasTuner prints a traceback for every trial that fails

SURROGATE, MVDR_FINAL = "surrogate", "mvdr_final"
_BEAT_S = 1.0


class TwoStageTuner(BaseTuner):
    """Runs the trials an oracle asks for.

    Args:
      oracle: of either stage; its objective is `SURROGATE` or `MVDR_FINAL`.
      trials: runs values.
      scenes: validation scenes of MVDR-final.
      seeds: trainings of a trial, whose mean is its score.
      directory, project_name: KerasTuner's state lies in directory / project_name.
      total: trials there will be.
      logger: gets a line a trial.
    """

    def __init__(
        self,
        oracle: Durable,
        trials: Trials,
        scenes: int,
        seeds: int,
        directory: Path,
        project_name: str,
        total: int,
        logger: logging.Logger,
    ) -> None:
        self.trials, self.scenes, self.seeds, self.total, self.lines = trials, scenes, seeds, total, logger
        self.spent: list[float] = []
        self.waiting = False
        super().__init__(oracle, directory=str(directory), project_name=project_name)

    def _get_tuner_fname(self) -> str:
        return str(Path(self.directory) / self.project_name / "oracle.json")  # there is no state but the oracle's

    def save(self) -> None:
        if not self._is_worker():
            self.oracle.save()

    def reload(self) -> None:
        if not self._is_worker():
            self.oracle.reload()

    def pre_create_trial(self) -> None:
        if self.waiting:  # the oracle had nothing to do for us
            time.sleep(0.5)
        self.waiting = True

    def on_trial_begin(self, trial: Trial) -> None:
        self.waiting = False

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> dict[str, float]:
        values = trial.hyperparameters.values
        try:
            epochs, beat = values.get("tuner/epochs"), self._heartbeat(trial.trial_id)
            outcome = mean_outcome(self.trials.run_all(values, self.scenes, self.seeds, epochs, beat))
            self._tell(trial, outcome)
            self._tensorboard(trial, outcome)
        except NotFinite as error:
            self.lines.info(f"{self._label(trial)}  failed: {error}")
            raise kt.errors.FailedTrialError(str(error)) from error
        except Exception as error:  # KerasTuner would count it as a bad trial and go on
            raise kt.errors.FatalRuntimeError(str(error)) from error
        return {self.oracle.objective.name: self._score(outcome)}

    def _score(self, outcome: Outcome) -> float:
        return outcome.surrogate if self.oracle.objective.name == SURROGATE else outcome.objective

    def _heartbeat(self, trial_id: str) -> Callable[[], None]:
        last = -math.inf

        def beat() -> None:
            nonlocal last
            if self._is_worker() and time.monotonic() - last > _BEAT_S:
                self.oracle.get_trial(trial_id)
                last = time.monotonic()

        return beat

    def _label(self, trial: Trial) -> str:
        return f"{self.project_name} trial {int(trial.trial_id) + 1}/{self.total}"

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        """The live line."""
        self.spent.append(outcome.seconds)
        done = [best.score for best in self.oracle.get_best_trials(1) if best.status == TrialStatus.COMPLETED]
        best = min([self._score(outcome), *done])
        left_s = sum(self.spent) / len(self.spent) * (self.total - int(trial.trial_id) - 1)
        self.lines.info(
            f"{self._label(trial)}  surrogate {outcome.surrogate:.4f}  objective {outcome.objective:.4f}  "
            f"F1 {outcome.f1:.3f}  best {self.oracle.objective.name} so far {best:.4f}  "
            f"{outcome.seconds:.0f} s  {left_s:.0f} s left"
        )

    def _tensorboard(self, trial: Trial, outcome: Outcome) -> None:
        folder = Path(self.directory) / "tensorboard" / self.project_name / trial.trial_id
        values = own_values(trial.hyperparameters.values)
        with tf.summary.create_file_writer(str(folder)).as_default(step=outcome.epochs):
            hparams.hparams(values, trial_id=f"{self.project_name}/{trial.trial_id}")
            for name in ("surrogate", "objective", "f1", "rmse_xyz_m"):
                tf.summary.scalar(name, getattr(outcome, name))
