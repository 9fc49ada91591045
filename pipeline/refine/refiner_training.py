"""The SpectrumRefiner with its losses, as a Keras model that `fit` can train on batches of scenes."""

import math
from collections.abc import Mapping

import keras
import tensorflow as tf

from models.localizer import Localizer
from models.losses import focal_loss, lorentzian
from models.spectrum.refiner import HeatMap
from pipeline.fitting.backbone_training import BackboneTraining
from pipeline.fitting.heat_map_targets import RefinerTarget, refiner_target
from pipeline.fitting.replicas import apply_same, mean_over_replicas

Batch = Mapping[str, tf.Tensor]


class RefinerTraining(keras.Model):
    """Heat-map supervision on spectra of the backbone's R_pred.

    loss = focal loss of the presence + offset_weight x offset loss, the latter in units of the gate that hits are
    judged by; with `joint` plus the backbone's own losses, and the backbone's grid stages are trained as well.

    Args:
      localizer: with the refiner that is trained.
      offset_weight: of the offset loss.
      joint: the backbone's training, where its weights are not to stay as they are.
    """

    def __init__(self, localizer: Localizer, offset_weight: float, joint: BackboneTraining | None = None) -> None:
        super().__init__()
        if localizer.refiner is None:
            raise ValueError("localizer: expected one with a refiner, got one without")
        self.localizer, self.offset_weight, self.joint = localizer, offset_weight, joint
        names = ["loss", "presence", "offset", *(["backbone"] if joint is not None else [])]
        self.trackers = {name: keras.metrics.Mean(name) for name in names}
        self.scenes_seen = tf.Variable(0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.SUM)
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self.trackers.values())

    @property
    def learned(self) -> list[keras.Variable]:
        """Weights that training changes."""
        assert self.localizer.refiner is not None
        own = list(self.localizer.refiner.trainable_variables)
        return own if self.joint is None else own + self.localizer.backbone.learned_variables

    def _offset_loss(self, heat_map: HeatMap, target: RefinerTarget) -> tf.Tensor:
        """Lorentzian loss of the offset in gates, weighted by presence, [B]: far off is hardly worse than off."""
        dictionary = self.localizer.backbone.dictionary
        sine = math.sin(math.radians(dictionary.field_of_view.gate_angle_deg))
        cells = dictionary.cell_size()
        offset = tf.reshape(heat_map.offset, tf.shape(target.offset))
        angles = (offset[..., :2] - target.offset[..., :2]) * cells[:2] / sine
        least, most = dictionary.field_of_view.inverse_range
        ranges_m = [
            1.0 / tf.clip_by_value(dictionary.inverse_range + cells[2] * shift[..., 2], least, most)
            for shift in (offset, target.offset)
        ]
        range_error = (ranges_m[0] - ranges_m[1])[..., None] / dictionary.field_of_view.gate_range_m
        error = tf.reduce_sum(lorentzian(tf.concat([angles, range_error], axis=-1)), axis=-1)
        return tf.reduce_sum(target.presence * error, axis=-1) / tf.reduce_sum(target.presence, axis=-1)

    def batch_losses(self, batch: Batch) -> dict[str, tf.Tensor]:
        """The total `loss` and each part."""
        localizer = self.localizer
        observation = localizer.observe(*(batch[name] for name in ("snapshots", "ris_codes", "channel", "snr_db")))
        heat_map = localizer.heat_map(localizer.analyse(observation, batch["snr_db"]), observation)
        target = refiner_target(batch, localizer.backbone.dictionary)
        logits = tf.reshape(heat_map.logits, tf.shape(target.presence))
        parts = {
            "presence": tf.reduce_mean(focal_loss(logits, target.presence)),
            "offset": tf.reduce_mean(self._offset_loss(heat_map, target)),
        }
        total = parts["presence"] + self.offset_weight * parts["offset"]
        if self.joint is not None:
            parts["backbone"] = self.joint.batch_losses(batch)["loss"]
            total += parts["backbone"]
        return {"loss": total, **parts}

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in self.learned])
            values = self.batch_losses(batch)
        gradients = mean_over_replicas(tape.gradient(values["loss"], self.learned))
        apply_same(self.optimizer, tf.clip_by_global_norm(gradients, 1.0)[0], self.learned)
        self.scenes_seen.assign_add(tf.shape(batch["snr_db"], tf.int64)[0])
        for name, value in values.items():
            self.trackers[name].update_state(value)
        return {name: tracker.result() for name, tracker in self.trackers.items()}
