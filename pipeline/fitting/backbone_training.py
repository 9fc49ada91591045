"""The backbone with its losses, as a Keras model that `fit` can train on batches of scenes."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from models.config import LossConfig
from models.covariance_estimator.backbone import Backbone, GridState
from models.localizer import true_covariance
from models.losses import heat_map_loss, peak_contrast_loss, stein_loss, subspace_alignment_loss
from models.physics.config import ShrinkageConfig
from models.physics.covariance import LowRankCovariance, as_complex, effective_low_rank
from models.physics.observation import Observation, observe
from models.spectrum.mvdr import MVDR, inverse_quadratic
from pipeline.fitting.heat_map_targets import cells_away, true_places
from pipeline.fitting.replicas import apply_same, mean_over_replicas
from pipeline.fitting.start_targets import start_loss, start_target

Batch = Mapping[str, tf.Tensor]


class BackboneTraining(keras.Model):
    """Deep supervision of the grid stages: every stage's R_pred against R_true, later stages weighing more; and set
    matching of the start, whose gradient stays with the start's own weights.

    Args:
      backbone: what is trained; the continuous stages have no weights and take no part.
      losses: weights.
      shrinkage: for the MVDR spectrum of the peak contrast.
    """

    def __init__(self, backbone: Backbone, losses: LossConfig, shrinkage: ShrinkageConfig = ShrinkageConfig()) -> None:
        super().__init__()
        self.backbone, self.shrinkage = backbone, shrinkage
        names = ["heat_map", "stein", "subspace_alignment", "peak_contrast", "start"]
        self.weights_by_name = {name: getattr(losses, name) for name in names if getattr(losses, name) > 0}
        if not self.weights_by_name:
            raise ValueError("LossConfig: expected at least one loss with a positive weight, got none")
        self.trackers = {name: keras.metrics.Mean(name) for name in ["loss", *self.weights_by_name]}
        scenario = backbone.scenario
        self.mvdr = MVDR(scenario.array, scenario.field_of_view, backbone.config.grid)
        self.scenes_seen = tf.Variable(0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.SUM)
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self.trackers.values())

    def heat_map_target(self, batch: Batch) -> tf.Tensor:
        """Source presence on the grid, [B, G]: a Gaussian of one cell about each source, each of equal weight."""
        sources = true_places(batch)
        distance2 = tf.reduce_sum(cells_away(sources.places, self.backbone.dictionary) ** 2, axis=-1)
        weight = tf.nn.softmax(-distance2, axis=-1) * tf.cast(sources.used, tf.float32)[..., None]
        return tf.reduce_sum(weight, axis=1) / tf.cast(batch["num_sources"], tf.float32)[:, None]

    def _stage_losses(self, state: GridState, batch: Batch, target: tf.Tensor) -> dict[str, tf.Tensor]:
        true = true_covariance(batch, self.backbone.scenario)
        atoms, powers, rest = self.backbone.split(state.gamma)
        predicted = LowRankCovariance(atoms * as_complex(tf.sqrt(powers))[:, None, :], rest + 1e-6)
        used = tf.sequence_mask(batch["num_sources"], batch["azimuth"].shape[-1])
        directions = true.factor / tf.cast(
            tf.maximum(tf.norm(tf.abs(true.factor), axis=1, keepdims=True), 1e-12), true.factor.dtype
        )
        found = {}
        if "heat_map" in self.weights_by_name:
            found["heat_map"] = heat_map_loss(state.gamma, target)
        if "stein" in self.weights_by_name:
            found["stein"] = stein_loss(predicted, true)
        if "subspace_alignment" in self.weights_by_name:
            found["subspace_alignment"] = subspace_alignment_loss(predicted, directions)
        if "peak_contrast" in self.weights_by_name:
            effective = effective_low_rank(predicted, batch["snr_db"], tf.shape(batch["snapshots"])[1], self.shrinkage)
            on_grid = 1.0 / tf.reshape(self.mvdr(effective), [-1, self.mvdr.grid.size])
            found["peak_contrast"] = peak_contrast_loss(inverse_quadratic(effective, directions), used, on_grid)
        return {name: tf.reduce_mean(value) for name, value in found.items()}

    def batch_losses(self, batch: Batch) -> dict[str, tf.Tensor]:
        """The weighted total `loss` and each part, stage s of S weighing s / sum(1..S)."""
        observation = observe(*(batch[name] for name in ("snapshots", "ris_codes", "channel", "snr_db")))
        target = self.heat_map_target(batch)
        states = self.backbone.grid_stages(observation)
        stage_weights = np.arange(1, len(states) + 1) / sum(range(1, len(states) + 1))
        stages = [self._stage_losses(state, batch, target) for state in states]
        parts = {
            name: tf.add_n([float(w) * stage[name] for w, stage in zip(stage_weights, stages, strict=True)])
            for name in self.weights_by_name
            if name != "start"
        }
        if "start" in self.weights_by_name:
            parts["start"] = self._start_loss(states[-1], observation, batch)
        return {"loss": tf.add_n([self.weights_by_name[name] * part for name, part in parts.items()]), **parts}

    def _start_loss(self, state: GridState, observation: Observation, batch: Batch) -> tf.Tensor:
        state = GridState(tf.stop_gradient(state.gamma), state.maps)
        candidates = self.backbone.candidates(state, observation.noise_power)
        target = start_target(candidates, batch, observation.noise_power, self.backbone.dictionary)
        return tf.reduce_mean(start_loss(self.backbone.start(candidates), target))

    def _track(self, values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        for name, value in values.items():
            self.trackers[name].update_state(value)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            values = self.batch_losses(batch)
        backbone = self.backbone
        groups = [
            [variable.value for variable in group]
            for group in (backbone.grid_variables, backbone.start.trainable_variables)
        ]
        parts = tape.gradient(values["loss"], groups, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        parts = mean_over_replicas(parts)
        gradients = [gradient for part in parts for gradient in tf.clip_by_global_norm(part, 1.0)[0]]
        apply_same(self.optimizer, gradients, backbone.learned_variables)
        self.scenes_seen.assign_add(tf.shape(batch["snr_db"], tf.int64)[0])
        return self._track(values)

    def test_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        return self._track(self.batch_losses(batch))
