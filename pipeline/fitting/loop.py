"""What every training run has in common: options, batches, and what happens after each epoch."""

import contextlib
import logging
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tqdm import trange

from models.physics.geometry import Scenario
from pipeline.common.artifacts import Fingerprint, fingerprint
from pipeline.common.records import replacing, write_json
from pipeline.fitting.options import FitOptions
from pipeline.fitting.replicas import Spread
from pipeline.fitting.workers import place
from pipeline.metrics.estimators import Estimator
from pipeline.metrics.evaluation import compute_metrics, metrics_config
from pipeline.metrics.predictions import evaluate_predictions, run_estimator
from pipeline.scenes.identity import scenes_inputs
from pipeline.scenes.reading import load_scenes, shuffled_batches


def optimizer(options: FitOptions) -> keras.optimizers.Optimizer:
    """Adam, its learning rate falling to zero over the run."""
    schedule = keras.optimizers.schedules.CosineDecay(options.learning_rate, options.epochs * options.steps_per_epoch)
    return keras.optimizers.Adam(schedule)


def validate(
    localize: Estimator, scenario: Scenario, data_dir: Path, configs: Sequence[str], scenes: int
) -> dict[str, dict[str, Any]]:
    """Metrics of `localize` on that many first validation scenes of every set."""
    found = {}
    for config in configs:
        batches = load_scenes(data_dir, config, "validation", take=scenes, batch_size=20)
        predictions = run_estimator(localize, batches, scenes, show_progress=False)
        found[config] = compute_metrics(evaluate_predictions(predictions, metrics_config(scenario)))
    return found


def training_batches(options: FitOptions, skip_batches: int) -> tf.data.Dataset:
    """Endless batches, an equal share of each set, in an order that a killed run takes up again."""
    share = options.batch_size // len(options.config)
    parts = [
        shuffled_batches(options.data_dir, config, share, seed=options.seed, skip_batches=skip_batches)
        for config in options.config
    ]
    return tf.data.Dataset.zip(*parts).map(
        lambda *batches: tf.nest.map_structure(lambda *values: tf.concat(values, axis=0), *batches)
    )


def latest_readable(manager: tf.train.CheckpointManager) -> str | None:
    """The last checkpoint that is there and whole: its tensors carry checksums."""
    return next((path for path in reversed(manager.checkpoints) if _readable(path)), None)


def _readable(path: str) -> bool:
    try:
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError):  # the reader has one for each kind of damage
        return False
    return True


class Progress:
    """After each epoch: validate, keep the best models, write to TensorBoard and the log, checkpoint; the chief alone.

    Args:
      options: of the run.
      logger: gets a line an epoch.
      judge: metrics of every set as things stand, see `validate`.
      kept: models by the file they are kept in when the objective is the best so far.
      learned: variables that are trained, in the order of the checkpoint.
      pictures: PNG images by name for TensorBoard, as things stand; left out, none.
    """

    def __init__(
        self,
        options: FitOptions,
        logger: logging.Logger,
        judge: Callable[[], Mapping[str, Mapping[str, Any]]],
        kept: Mapping[str, keras.Model],
        learned: Sequence[keras.Variable],
        pictures: Callable[[], Mapping[str, bytes]] = dict,
    ) -> None:
        self.is_chief = place(options.strategy).is_chief
        self.options, self.logger, self.judge, self.kept = options, logger, judge, kept
        self.learned, self.pictures = list(learned), pictures
        self.epochs_done = tf.Variable(0, dtype=tf.int64)
        self.best_objective = tf.Variable(math.inf, dtype=tf.float64)
        self.manager: tf.train.CheckpointManager | None = None
        folder = str(options.run_dir / "tensorboard")
        self.tensorboard = tf.summary.create_file_writer(folder) if self.is_chief else tf.summary.create_noop_writer()
        self.started, self.first_epoch = time.monotonic(), 0

    def restore(self, model: keras.Model) -> int | None:
        """Takes up the last checkpoint; epochs done, None if there is no checkpoint."""
        model.optimizer.build(self.learned)
        checkpoint = tf.train.Checkpoint(
            weights=[weight.value for weight in self.learned],  # layers in lists go untracked
            optimizer=model.optimizer,
            epochs_done=self.epochs_done,
            scenes_seen=model.scenes_seen,
            best_objective=self.best_objective,
        )
        directory = self.options.run_dir / "checkpoints"
        self.manager = tf.train.CheckpointManager(checkpoint, str(directory), max_to_keep=2)
        readable = latest_readable(self.manager)
        if readable is None:
            return None
        checkpoint.restore(readable).assert_existing_objects_matched()
        self.first_epoch = int(self.epochs_done)
        self.logger.info(f"resumed after epoch {self.first_epoch} from {readable}")
        return self.first_epoch

    def score(self, epoch: int, logs: dict[str, float]) -> None:
        """Validates, keeps the models if they are the best so far; what is recorded comes before the checkpoint."""
        metrics = self.judge()
        objective = statistics.fmean(float(found["objective"]) for found in metrics.values())
        f1 = statistics.fmean(float(found["standard"]["f1"]) for found in metrics.values())
        logs.update(val_objective=objective, val_f1=f1)
        if objective < float(self.best_objective):
            self.best_objective.assign(objective)
            with contextlib.ExitStack() as whole:  # all are written before the first takes its place
                paths = {name: whole.enter_context(replacing(self.options.run_dir / name)) for name in self.kept}
                for name, model in self.kept.items():
                    model.save(paths[name])
            write_json(self.options.run_dir / "metrics.json", {"epoch": epoch, "validation": metrics})
        with self.tensorboard.as_default(step=epoch):
            for name, value in logs.items():
                tf.summary.scalar(name, value)
            for name, picture in self.pictures().items():
                tf.summary.image(name, tf.io.decode_png(picture)[None])
        self.tensorboard.flush()
        an_epoch = (time.monotonic() - self.started) / max(epoch - self.first_epoch, 1)
        left = an_epoch * (self.options.epochs - epoch)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in sorted(logs.items()))
        self.logger.info(f"epoch {epoch}/{self.options.epochs}  {shown}  {left:.0f} s left")
        self.epochs_done.assign(epoch)
        if self.manager is not None:
            self.manager.save(checkpoint_number=epoch)

    def end_epoch(self, epoch: int, losses: dict[str, float]) -> None:
        """What follows an epoch, counted from 1.

        Raises:
          ValueError: a loss that is no longer finite.
        """
        if not all(math.isfinite(value) for value in losses.values()):
            raise ValueError(f"epoch {epoch}: the loss is no longer finite; expected a lower --learning-rate")
        if self.is_chief:
            self.score(epoch, losses)


def run_fingerprint(stage: str, options: FitOptions) -> Fingerprint:
    """What decides a training: its options, the scenes, given weights, the code.

    Raises:
      FileNotFoundError, ValueError: scenes or weights that are not there.
    """
    scenes = scenes_inputs(options.data_dir, options.config)
    return fingerprint(stage, options, scenes, left_out=("run_dir", "data_dir", "learnability", "force", "strategy"))


def fit(model: keras.Model, progress: Progress, spread: Spread) -> None:
    """Trains the compiled model, or goes on with the run, to the last epoch of the progress's options.

    The loop is ours and not Keras's fit, which cannot run several workers (keras-team/keras issue 20585).

    Raises:
      ValueError: the loss is no longer finite, or the workers see different checkpoints.
    """
    options, logger = progress.options, progress.logger
    with spread.strategy.scope():
        done = progress.restore(model)
    spread.require_same(done, "checkpoints in --run-dir")
    if done is None:
        progress.end_epoch(0, {})
    done = done or 0

    @tf.function(autograph=False)
    def step(batch: Any) -> None:
        spread.strategy.run(model.train_step, (batch,))

    batches = iter(spread.batches(training_batches(options, skip_batches=done * options.steps_per_epoch)))
    for epoch in range(done, options.epochs):
        model.reset_metrics()
        for _ in trange(options.steps_per_epoch, leave=False, disable=not sys.stdout.isatty()):
            step(next(batches))
        progress.end_epoch(epoch + 1, {metric.name: float(metric.result()) for metric in model.metrics})
    if progress.is_chief:
        kept = ", ".join(str(options.run_dir / name) for name in progress.kept)
        logger.info(f"best validation objective {float(progress.best_objective):.3f}: {kept}")
