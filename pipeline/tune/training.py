"""Trains one configuration, scored by the surrogate after every epoch; killed at any point, it goes on.

What a training comes to depends on its options and nothing else, so that a folder serves every trial with those values:
one of Stage 2, and one that Hyperband promotes, go on from it and start nothing anew.
"""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from models.localizer import Localizer
from pipeline.fitting.backbone_training import BackboneTraining
from pipeline.fitting.loop import latest_readable, training_batches
from pipeline.train.options import TrainOptions
from pipeline.train.training import prepare
from pipeline.tune.surrogate import Heartbeat, Surrogate


class NotFinite(Exception):
    """A loss or a surrogate that is no longer a finite number."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """A training as far as it went.

    surrogates: by epoch, the untrained one first. surrogate_ms: CPU time of a surrogate per scene; None where none was
    computed but the first, which pays for tracing.
    """

    localizer: Localizer
    surrogates: tuple[float, ...]
    best_epoch: int
    surrogate_ms: float | None

    @property
    def surrogate(self) -> float:
        """That of the best epoch, whose weights the localizer has."""
        return self.surrogates[self.best_epoch]


class _Epochs(keras.callbacks.Callback):
    """Scores and checkpoints every epoch, in one file: weights, best weights, optimizer and the surrogates so far."""

    def __init__(
        self, localizer: Localizer, surrogate: Surrogate, options: TrainOptions, patience: int, heartbeat: Heartbeat
    ) -> None:
        super().__init__()
        self.localizer, self.options, self.patience, self.heartbeat = localizer, options, patience, heartbeat
        self.score = surrogate.scorer(localizer)
        weights = localizer.backbone.learned_variables
        self.best = [tf.Variable(weight) for weight in weights]
        self.surrogates = tf.Variable(np.full(options.epochs + 1, np.nan), dtype=tf.float64)
        self.manager: tf.train.CheckpointManager | None = None

    @property
    def done(self) -> int:
        """Epochs done; -1 before the start is scored."""
        return int(np.isfinite(self.surrogates.numpy()).sum()) - 1

    @property
    def best_epoch(self) -> int:
        return int(np.nanargmin(self.surrogates.numpy()))

    def exhausted(self, epochs: int) -> bool:
        """All epochs are done, or so many in a row were no better than the best one."""
        return self.done >= epochs or self.done - self.best_epoch >= self.patience

    def restore(self, model: BackboneTraining) -> None:
        """Takes up the last checkpoint that can be read; scores the start if there is none."""
        model.optimizer.build(model.backbone.learned_variables)
        checkpoint = tf.train.Checkpoint(
            weights=[weight.value for weight in model.backbone.learned_variables],
            best=self.best,
            optimizer=model.optimizer,
            surrogates=self.surrogates,
        )
        self.manager = tf.train.CheckpointManager(checkpoint, str(self.options.run_dir / "checkpoints"), max_to_keep=2)
        readable = latest_readable(self.manager)
        if readable is not None:
            checkpoint.restore(readable).assert_existing_objects_matched()
        else:
            self.keep(0)

    def keep(self, epoch: int) -> None:
        """Scores the weights as they are and checkpoints."""
        value = self.score(self.heartbeat)
        if not math.isfinite(value):
            raise NotFinite(f"epoch {epoch}: the surrogate is no longer finite")
        self.surrogates[epoch].assign(value)
        if self.best_epoch == epoch:
            for best, weight in zip(self.best, self.localizer.backbone.learned_variables, strict=True):
                best.assign(weight)
        if self.manager is not None:
            self.manager.save(checkpoint_number=epoch)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.heartbeat()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if not all(math.isfinite(value) for value in (logs or {}).values()):
            raise NotFinite(f"epoch {epoch + 1}: the loss is no longer finite")
        self.keep(epoch + 1)
        self.model.stop_training = self.exhausted(self.options.epochs)


def train_trial(
    options: TrainOptions, surrogate: Surrogate, epochs: int, patience: int, heartbeat: Heartbeat = lambda: None
) -> Trained:
    """Trains, or goes on with, options.run_dir up to `epochs` of the options' epochs, which the learning rate spans.

    Args:
      options: of the training; its validation scenes are not looked at.
      surrogate: what chooses the best epoch.
      epochs: where to stop.
      patience: epochs without a better surrogate after which a training ends early.
      heartbeat: called now and then.

    Raises:
      NotFinite: the training diverged.
      ValueError, OSError: options that do not fit, or no scenes.
    """
    localizer, model = prepare(options)
    progress = _Epochs(localizer, surrogate, options, patience, heartbeat)
    progress.restore(model)
    if not progress.exhausted(epochs):
        model.fit(
            training_batches(options, skip_batches=progress.done * options.steps_per_epoch),
            epochs=epochs,
            initial_epoch=progress.done,
            steps_per_epoch=options.steps_per_epoch,
            callbacks=[progress],
            shuffle=False,
            verbose=0,
        )
    for weight, best in zip(localizer.backbone.learned_variables, progress.best, strict=True):
        weight.assign(best)
    values = tuple(progress.surrogates.numpy()[: progress.done + 1].tolist())
    return Trained(localizer, values, progress.best_epoch, progress.score.ms_per_scene)
