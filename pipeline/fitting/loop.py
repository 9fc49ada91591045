"""The training loop of backbone, refiner and tuner, on one worker or several; a killed training resumes."""

import math
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import trange

from pipeline.common.artifacts import Fingerprint, fingerprint
from pipeline.fitting.distribution import Distribution
from pipeline.fitting.loss_training import LossTraining
from pipeline.fitting.options import FitOptions
from pipeline.scenes.identity import scenes_inputs
from pipeline.scenes.reading import shuffled_batches


class NotFinite(ValueError):
    """A loss or a score is no longer a finite number."""


def optimizer(options: FitOptions) -> keras.optimizers.Optimizer:
    """Adam; the learning rate falls to zero over the run by a cosine."""
    schedule = keras.optimizers.schedules.CosineDecay(options.learning_rate, options.epochs * options.steps_per_epoch)
    return keras.optimizers.Adam(schedule)


def training_batches(options: FitOptions, skip_batches: int) -> tf.data.Dataset:
    """Endless batches after the first `skip_batches`, equal shares of each set; the order depends on the seed only."""
    share = options.batch_size // len(options.config)
    parts = [
        shuffled_batches(options.data_dir, config, share, seed=options.seed, skip_batches=skip_batches)
        for config in options.config
    ]
    return tf.data.Dataset.zip(*parts).map(
        lambda *batches: tf.nest.map_structure(lambda *values: tf.concat(values, axis=0), *batches)
    )


def run_fingerprint(stage: str, options: FitOptions) -> Fingerprint:
    """The fingerprint of a training: options, scenes, initial weights and code."""
    scenes = scenes_inputs(options.data_dir, options.config)
    return fingerprint(stage, options, scenes, left_out=("run_dir", "data_dir", "learnability", "force", "strategy"))


class TrainingLoop:
    """Trains a model and scores and checkpoints it after every epoch; epoch 0 is the untrained start.

    Subclasses define the score and what is kept of the best epoch. A killed training resumes from the last undamaged
    checkpoint in run_dir/checkpoints and ends with the weights of an undisturbed one. Only the chief scores and writes.
    The loop does not use Keras's `fit`, which cannot run several workers (keras-team/keras issue 20585).

    Args:
      model: compiled, created in the scope of the distribution.
      distribution: devices and workers; a single device if left out.
      state: further variables of the checkpoint, by name.
    """

    def __init__(
        self, model: LossTraining, options: FitOptions, distribution: Distribution | None = None, **state: Any
    ) -> None:
        self.model, self.options, self.distribution = model, options, distribution or Distribution()
        self.scores = tf.Variable(np.full(options.epochs + 1, np.nan), dtype=tf.float64)
        """Score of every epoch so far, lower is better; NaN where there is none yet."""
        self.epochs_done = tf.Variable(0, dtype=tf.int64)
        variables = model.learned_variables
        with self.distribution.strategy.scope():
            model.optimizer.build(variables)
            self._checkpoint = tf.train.Checkpoint(
                weights=[variable.value for variable in variables],  # Keras does not track layers inside lists
                optimizer=model.optimizer,
                scenes_seen=model.scenes_seen,
                scores=self.scores,
                epochs_done=self.epochs_done,
                **state,
            )
            folder = str(options.run_dir / "checkpoints")
            self._manager = tf.train.CheckpointManager(self._checkpoint, folder, max_to_keep=2)

    def score(self, epoch: int, losses: dict[str, float]) -> float:
        """The score of the current weights, lower is better; `losses` are means over the epoch, none for epoch 0."""
        raise NotImplementedError

    def keep_best(self, epoch: int) -> None:
        """Called after the score when the epoch is the best so far, and before its checkpoint is written."""

    def resumed(self, epoch: int, checkpoint: str) -> None:
        """Called when the training resumes after an epoch, with the path of the checkpoint."""

    def after_batch(self) -> None:
        """Called after every step."""

    def is_finished(self, epoch: int, epochs: int) -> bool:
        """True if no epoch follows: `epoch` of the requested `epochs` are done."""
        return epoch >= epochs

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest score."""
        return int(np.nanargmin(self.scores.numpy()))

    def end_epoch(self, epoch: int, losses: dict[str, float]) -> None:
        """Scores an epoch, keeps what is best, writes the checkpoint; raises NotFinite if a loss is not finite."""
        if not all(math.isfinite(value) for value in losses.values()):
            raise NotFinite(f"epoch {epoch}: the loss is no longer finite; expected a lower --learning-rate")
        if not self.distribution.worker.is_chief:
            return
        score = self.score(epoch, losses)
        best_before = np.nanmin(self.scores.numpy(), initial=np.inf)
        self.scores[epoch].assign(score)
        if score < best_before:
            self.keep_best(epoch)
        self.epochs_done.assign(epoch)
        self._manager.save(checkpoint_number=epoch)

    def _restore(self) -> str | None:
        """Loads the last undamaged checkpoint; returns its path, None if there is none."""
        path = next((path for path in reversed(self._manager.checkpoints) if _is_undamaged(path)), None)
        if path is not None:
            try:
                with self.distribution.strategy.scope():
                    self._checkpoint.restore(path).assert_existing_objects_matched()
            except AssertionError:
                raise ValueError(f"--run-dir: expected a checkpoint of this version, got {path}") from None
        return path

    def run(self, epochs: int | None = None) -> None:
        """Trains, or resumes, up to `epochs`, by default options.epochs, over which the learning rate falls."""
        epochs, steps = epochs or self.options.epochs, self.options.steps_per_epoch
        checkpoint = self._restore()
        epoch = int(self.epochs_done)
        self.distribution.require_same(None if checkpoint is None else epoch, "checkpoints in --run-dir")
        if checkpoint is None:
            self.end_epoch(0, {})
        else:
            self.resumed(epoch, checkpoint)
        if self.is_finished(epoch, epochs):
            return

        @tf.function(autograph=False)
        def step(batch: Any) -> None:
            self.distribution.strategy.run(self.model.train_step, (batch,))

        batches = iter(self.distribution.distribute(training_batches(self.options, skip_batches=epoch * steps)))
        while not self.is_finished(epoch, epochs):
            self.model.reset_metrics()
            for _ in trange(steps, leave=False, disable=not sys.stdout.isatty()):
                step(next(batches))
                self.after_batch()
            epoch += 1
            self.end_epoch(epoch, {metric.name: float(metric.result()) for metric in self.model.metrics})


def _is_undamaged(path: str) -> bool:
    """True if all tensors of a checkpoint can be read: they carry checksums."""
    try:
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError):  # each kind of damage has its own error
        return False
    return True
