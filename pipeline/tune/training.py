"""Trains one configuration of a study; the surrogate scores every epoch, and a killed training resumes.

The result depends on the options only. One folder therefore serves all trials with the same values: trials of Stage 2
and trials that Hyperband promotes continue its training.
"""

import dataclasses
import math

import tensorflow as tf

from models.localizer import Localizer
from pipeline.fitting.backbone_training import BackboneTraining
from pipeline.fitting.loop import NotFinite, TrainingLoop
from pipeline.train.options import TrainOptions
from pipeline.train.training import prepare
from pipeline.tune.surrogate import Batches, Heartbeat, Surrogate


@dataclasses.dataclass(frozen=True)
class Trained:
    """A training so far."""

    localizer: Localizer
    """With the weights of the best epoch."""
    surrogates: tuple[float, ...]
    """By epoch, that of the untrained start first, lower is better."""
    best_epoch: int
    surrogate_ms: float | None
    """CPU time of a surrogate per scene; None if only one was computed, because the first one includes tracing."""

    @property
    def surrogate(self) -> float:
        """The surrogate of the best epoch."""
        return self.surrogates[self.best_epoch]


class _TrialTraining(TrainingLoop):
    """A training that the surrogate scores, with the best weights in the checkpoint and early stopping."""

    def __init__(
        self, model: BackboneTraining, surrogate: Surrogate, options: TrainOptions, patience: int, heartbeat: Heartbeat
    ) -> None:
        self.best_weights = [tf.Variable(weight) for weight in model.learned_variables]
        super().__init__(model, options, best_weights=self.best_weights)
        self.surrogate, self.patience, self.heartbeat = surrogate, patience, heartbeat

    def score(self, epoch: int, losses: dict[str, float]) -> float:
        value = self.surrogate(self.heartbeat)
        if not math.isfinite(value):
            raise NotFinite(f"epoch {epoch}: the surrogate is no longer finite")
        return value

    def keep_best(self, epoch: int) -> None:
        for best, weight in zip(self.best_weights, self.model.learned_variables, strict=True):
            best.assign(weight)

    def after_batch(self) -> None:
        self.heartbeat()

    def is_finished(self, epoch: int, epochs: int) -> bool:
        """True after all epochs, or after `patience` epochs without a better surrogate."""
        return epoch >= epochs or epoch - self.best_epoch >= self.patience

    def load_best(self) -> None:
        """Gives the model the weights of the best epoch."""
        for best, weight in zip(self.best_weights, self.model.learned_variables, strict=True):
            weight.assign(best)


def train_trial(
    options: TrainOptions, batches: Batches, epochs: int, patience: int, heartbeat: Heartbeat = lambda: None
) -> Trained:
    """Trains, or resumes, options.run_dir up to `epochs`; the learning rate falls over options.epochs.

    The surrogate on the `batches` scores the epochs. The training ends earlier after `patience` epochs without a better
    one. The heartbeat is called after every step and before every batch of the surrogate. Raises NotFinite if the
    training diverges.
    """
    localizer, model = prepare(options)
    surrogate = Surrogate(localizer, batches)
    training = _TrialTraining(model, surrogate, options, patience, heartbeat)
    training.run(epochs)
    training.load_best()
    surrogates = tuple(training.scores.numpy()[: int(training.epochs_done) + 1].tolist())
    return Trained(localizer, surrogates, training.best_epoch, surrogate.ms_per_scene)
