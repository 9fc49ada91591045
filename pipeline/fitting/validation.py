"""Validation of a training by the localizer's metrics, with the best models, TensorBoard and the log."""

import contextlib
import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from models.physics.geometry import Scenario
from pipeline.common.records import replacing, write_json
from pipeline.fitting.distribution import Distribution
from pipeline.fitting.loop import TrainingLoop
from pipeline.fitting.loss_training import LossTraining
from pipeline.fitting.options import FitOptions
from pipeline.metrics.estimators import Estimator
from pipeline.metrics.evaluation import compute_metrics, metrics_config
from pipeline.metrics.predictions import evaluate_predictions, run_estimator
from pipeline.scenes.reading import load_scenes

BATCH = 20
"""Validation scenes per call of the localizer."""


def validate(
    localize: Estimator, scenario: Scenario, data_dir: Path, configs: Sequence[str], scenes: int
) -> dict[str, dict[str, Any]]:
    """The metrics of an estimator on the first `scenes` validation scenes of every set, by name of the set."""
    found = {}
    for config in configs:
        batches = load_scenes(data_dir, config, "validation", take=scenes, batch_size=BATCH)
        predictions = run_estimator(localize, batches, scenes, show_progress=False)
        found[config] = compute_metrics(evaluate_predictions(predictions, metrics_config(scenario)))
    return found


class ValidatedTraining(TrainingLoop):
    """A `TrainingLoop` whose score is the mean validation objective over the sets.

    Args:
      validation: returns the metrics of every set with the current weights, see `validate`.
      best_models: models by the file name in run_dir that they are saved to at the best epoch.
      images: returns PNG images by name for TensorBoard.
    """

    def __init__(
        self,
        model: LossTraining,
        options: FitOptions,
        distribution: Distribution | None,
        logger: logging.Logger,
        validation: Callable[[], Mapping[str, Mapping[str, Any]]],
        best_models: Mapping[str, keras.Model],
        images: Callable[[], Mapping[str, bytes]] = dict,
    ) -> None:
        super().__init__(model, options, distribution)
        self.logger, self.validation, self.best_models, self.images = logger, validation, best_models, images
        self.metrics: Mapping[str, Mapping[str, Any]] = {}
        folder = str(options.run_dir / "tensorboard")
        is_chief = self.distribution.worker.is_chief
        self.tensorboard = tf.summary.create_file_writer(folder) if is_chief else tf.summary.create_noop_writer()
        self.started, self.first_epoch = time.monotonic(), 0

    def score(self, epoch: int, losses: dict[str, float]) -> float:
        self.metrics = self.validation()
        objective = statistics.fmean(float(found["objective"]) for found in self.metrics.values())
        f1 = statistics.fmean(float(found["standard"]["f1"]) for found in self.metrics.values())
        figures = {**losses, "val_objective": objective, "val_f1": f1}
        with self.tensorboard.as_default(step=epoch):
            for name, value in figures.items():
                tf.summary.scalar(name, value)
            for name, image in self.images().items():
                tf.summary.image(name, tf.io.decode_png(image)[None])
        self.tensorboard.flush()
        seconds_per_epoch = (time.monotonic() - self.started) / max(epoch - self.first_epoch, 1)
        left_s = seconds_per_epoch * (self.options.epochs - epoch)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in sorted(figures.items()))
        self.logger.info(f"epoch {epoch}/{self.options.epochs}  {shown}  {left_s:.0f} s left")
        return objective

    def keep_best(self, epoch: int) -> None:
        """Saves the best models and metrics.json."""
        with contextlib.ExitStack() as complete:  # all files are written before the first one replaces an older one
            paths = {name: complete.enter_context(replacing(self.options.run_dir / name)) for name in self.best_models}
            for name, model in self.best_models.items():
                model.save(paths[name])
        write_json(self.options.run_dir / "metrics.json", {"epoch": epoch, "validation": self.metrics})

    def resumed(self, epoch: int, checkpoint: str) -> None:
        self.first_epoch = epoch
        self.logger.info(f"resumed after epoch {epoch} from {checkpoint}")

    def run(self, epochs: int | None = None) -> None:
        super().run(epochs)
        if self.distribution.worker.is_chief:
            files = ", ".join(str(self.options.run_dir / name) for name in self.best_models)
            self.logger.info(f"best validation objective {self.scores.numpy()[self.best_epoch]:.3f}: {files}")
