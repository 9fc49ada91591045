"""The training step that backbone and refiner share."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

Batch = Mapping[str, tf.Tensor]
"""B scenes with their true sources, as `pipeline.scenes.reading.load_scenes` yields them."""


class LossTraining(keras.Model):
    """A Keras model that minimises the loss of a batch; subclasses define the loss and the trained variables.

    It works with Keras's `fit` and `evaluate` and with `pipeline.fitting.loop`. `scenes_seen` counts the training
    scenes, repeats included. `parts` names what `batch_losses` returns beside "loss".
    """

    def __init__(self, parts: Sequence[str]) -> None:
        super().__init__()
        self.trackers = {name: keras.metrics.Mean(name) for name in ["loss", *parts]}
        self.scenes_seen = tf.Variable(0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.SUM)
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self.trackers.values())

    @property
    def variable_groups(self) -> list[list[keras.Variable]]:
        """The trained variables; the gradient of each group is clipped to a global norm of 1."""
        raise NotImplementedError

    @property
    def learned_variables(self) -> list[keras.Variable]:
        """The trained variables in the order of the checkpoint."""
        return [variable for group in self.variable_groups for variable in group]

    def batch_losses(self, batch: Batch) -> dict[str, tf.Tensor]:
        """The total "loss" and its parts, float32 scalars."""
        raise NotImplementedError

    def _track(self, values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        for name, value in values.items():
            self.trackers[name].update_state(value)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        groups = [[variable.value for variable in group] for group in self.variable_groups]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(groups)
            values = self.batch_losses(batch)
        parts = tape.gradient(values["loss"], groups, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        replica = tf.distribute.get_replica_context()
        parts = replica.all_reduce(tf.distribute.ReduceOp.MEAN, parts)
        gradients = [gradient for part in parts for gradient in tf.clip_by_global_norm(part, 1.0)[0]]
        shares = [gradient / replica.num_replicas_in_sync for gradient in gradients]  # Keras sums over the replicas
        self.optimizer.apply_gradients(zip(shares, self.learned_variables, strict=True))
        self.scenes_seen.assign_add(tf.shape(batch["snr_db"], tf.int64)[0])
        return self._track(values)

    def test_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        return self._track(self.batch_losses(batch))
