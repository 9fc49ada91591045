"""All learned weights of a localizer as one model and one file: backbone and score correction."""

from typing import Any

import keras

from models.covariance_estimator.backbone import Backbone
from models.decision.scoring import NUM_FEATURES, ScoreCorrection


@keras.saving.register_keras_serializable("ris_mvdr")
class LocalizerWeights(keras.Model):
    """A backbone and a score correction, by default an untrained one, which corrects nothing.

    `backbone.keras` and the option --backbone contain this model.

    Examples:
      >>> weights = LocalizerWeights(Backbone())
      >>> weights.save("backbone.keras")
      >>> Localizer(weights).localize(snapshots, ris_codes, channel, snr_db)
    """

    def __init__(self, backbone: Backbone, score_correction: ScoreCorrection | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backbone = backbone
        self.score_correction = score_correction or ScoreCorrection(name="score_correction")
        if not self.score_correction.built:
            self.score_correction.build((None, None, NUM_FEATURES))
        self.built = True

    def with_backbone(self, backbone: Backbone) -> "LocalizerWeights":
        """Copies the weights to another backbone, whose layers must have the same shapes."""
        changed = LocalizerWeights(backbone, ScoreCorrection(self.score_correction.width, name="score_correction"))
        changed.set_weights(self.get_weights())
        return changed

    def get_config(self) -> dict[str, Any]:
        parts = {"backbone": self.backbone, "score_correction": self.score_correction}
        return {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LocalizerWeights":
        parts = {name: keras.saving.deserialize_keras_object(config[name]) for name in ("backbone", "score_correction")}
        return cls(**parts)
