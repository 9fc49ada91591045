"""The losses of the SpectrumRefiner, as a Keras model that trains on batches of scenes."""

import math

import keras
import tensorflow as tf

from models.localizer import Localizer
from models.losses import focal_loss, lorentzian
from models.spectrum.refiner import HeatMap
from pipeline.fitting.backbone_training import BackboneTraining
from pipeline.fitting.heat_map_targets import RefinerTarget, refiner_target
from pipeline.fitting.loss_training import Batch, LossTraining


class RefinerTraining(LossTraining):
    """Supervises the heat map that the refiner computes from the spectrum of the backbone's R_pred.

    loss = focal loss of the presence + offset_weight x offset loss; offsets are in units of the gate that decides hits.
    With `joint`, the loss of the backbone is added and its learned weights are trained as well.
    """

    def __init__(self, localizer: Localizer, offset_weight: float, joint: BackboneTraining | None = None) -> None:
        if localizer.refiner is None:
            raise ValueError("localizer: expected one with a refiner, got one without")
        super().__init__(["presence", "offset", *(["backbone"] if joint is not None else [])])
        self.localizer, self.offset_weight, self.joint = localizer, offset_weight, joint

    @property
    def variable_groups(self) -> list[list[keras.Variable]]:
        """A single group, so that `joint` clips the gradients of refiner and backbone together."""
        assert self.localizer.refiner is not None
        own = list(self.localizer.refiner.trainable_variables)
        return [own if self.joint is None else own + self.localizer.backbone.learned_variables]

    def _offset_loss(self, heat_map: HeatMap, target: RefinerTarget) -> tf.Tensor:
        """Lorentzian loss of the offset in gates, weighted by the presence, [B]; large errors saturate."""
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
        """The total "loss" and its parts, float32 scalars."""
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
