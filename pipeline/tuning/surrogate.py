"""The surrogate of Stage 1: how usable a configuration's covariance is, without locating anything."""

import dataclasses
from collections.abc import Callable, Mapping

import tensorflow as tf

from models.covariance import ShrinkageConfig, effective_low_rank
from models.localizer import Localizer, true_covariance
from models.losses import stein_loss, subspace_alignment_loss
from models.mvdr import inverse_quadratic
from pipeline.scenes import load_scenes
from pipeline.tuning.options import TuneOptions


def surrogate_terms(localizer: Localizer, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    predicted = localizer.backbone.predict_covariance(
        localizer.observe(batch["snapshots"], batch["ris_codes"], batch["channel"], batch["snr_db"])
    ).covariance
    true = true_covariance(batch, localizer.scenario)
    return {"stein": tf.math.log1p(stein_loss(predicted, true))}


class Surrogate:
    def __init__(self, options: TuneOptions) -> None:
        wanted = options.final_scenes + options.surrogate_scenes
        scenes = load_scenes(options.data_dir, options.config, "validation", take=wanted)
        self.batches = list(scenes.skip(options.final_scenes).batch(20))

    def scorer(self, localizer: Localizer) -> Callable[[Callable[[], None]], dict[str, float]]:
        step = tf.function(lambda batch: surrogate_terms(localizer, batch), autograph=False)

        def score(heartbeat: Callable[[], None]) -> dict[str, float]:
            parts = []
            for batch in self.batches:
                heartbeat()
                parts.append(step(batch))
            return {"surrogate": float(tf.reduce_mean(tf.concat([part["stein"] for part in parts], 0)))}

        return score
