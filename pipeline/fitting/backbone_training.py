"""The losses of the backbone, as a Keras model that trains on batches of scenes."""

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
from pipeline.fitting.heat_map_targets import offsets_in_cells, source_coordinates
from pipeline.fitting.loss_training import Batch, LossTraining
from pipeline.fitting.start_targets import start_loss, start_target

_STAGE_LOSSES = ("heat_map", "stein", "subspace_alignment", "peak_contrast")


class BackboneTraining(LossTraining):
    """Deep supervision: the R_pred of every grid stage is compared with R_true, and later stages have larger weights.

    The start network learns from matched candidates and sources; its gradient does not reach the grid stages. The
    off-grid refinement has no weights and takes no part. A loss of weight 0 is not computed. The peak contrast is that
    of the MVDR spectrum of a covariance with this shrinkage.
    """

    def __init__(self, backbone: Backbone, losses: LossConfig, shrinkage: ShrinkageConfig = ShrinkageConfig()) -> None:
        weights = {name: getattr(losses, name) for name in (*_STAGE_LOSSES, "start") if getattr(losses, name) > 0}
        if not weights:
            raise ValueError("LossConfig: expected at least one loss with a positive weight, got none")
        super().__init__(list(weights))
        self.backbone, self.shrinkage, self.weights_by_name = backbone, shrinkage, weights
        scenario = backbone.scenario
        self.mvdr = MVDR(scenario.array, scenario.field_of_view, backbone.config.grid)

    @property
    def variable_groups(self) -> list[list[keras.Variable]]:
        return [self.backbone.grid_variables, self.backbone.start.trainable_variables]

    def heat_map_target(self, batch: Batch) -> tf.Tensor:
        """Equal Gaussians of one cell's standard deviation around the sources, [B, G] float32, sum 1 per scene."""
        sources = source_coordinates(batch)
        distance2 = tf.reduce_sum(offsets_in_cells(sources.coordinates, self.backbone.dictionary) ** 2, axis=-1)
        weight = tf.nn.softmax(-distance2, axis=-1) * tf.cast(sources.used, tf.float32)[..., None]
        return tf.reduce_sum(weight, axis=1) / tf.cast(batch["num_sources"], tf.float32)[:, None]

    def _stage_losses(self, state: GridState, batch: Batch, target: tf.Tensor) -> dict[str, tf.Tensor]:
        true = true_covariance(batch, self.backbone.scenario)
        atoms, powers, rest = self.backbone.split(state.gamma)
        predicted = LowRankCovariance(atoms * as_complex(tf.sqrt(powers))[:, None, :], rest + 1e-6)
        used = tf.sequence_mask(batch["num_sources"], batch["azimuth"].shape[-1])
        amplitude = tf.norm(tf.abs(true.factor), axis=1, keepdims=True)
        directions = true.factor / tf.cast(tf.maximum(amplitude, 1e-12), true.factor.dtype)
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
        """The weighted total "loss" and its unweighted parts; stage s of S has the weight s / sum(1..S)."""
        observation = observe(*(batch[name] for name in ("snapshots", "ris_codes", "channel", "snr_db")))
        target = self.heat_map_target(batch)
        states = self.backbone.grid_stages(observation)
        stage_weights = np.arange(1, len(states) + 1) / sum(range(1, len(states) + 1))
        stages = [self._stage_losses(state, batch, target) for state in states]
        parts = {
            name: tf.add_n([float(w) * stage[name] for w, stage in zip(stage_weights, stages, strict=True)])
            for name in stages[0]
        }
        if "start" in self.weights_by_name:
            parts["start"] = self._start_loss(states[-1], observation, batch)
        return {"loss": tf.add_n([self.weights_by_name[name] * part for name, part in parts.items()]), **parts}

    def _start_loss(self, state: GridState, observation: Observation, batch: Batch) -> tf.Tensor:
        state = GridState(tf.stop_gradient(state.gamma), state.maps)
        candidates = self.backbone.candidates(state, observation.noise_power)
        target = start_target(candidates, batch, observation.noise_power, self.backbone.dictionary)
        return tf.reduce_mean(start_loss(self.backbone.start(candidates), target))
