"""The surrogate of Stage 1: how usable the covariance is that a whole configuration ends at, without locating sources.

    surrogate = mean log(1 + Stein(R_pred, R_true)) + mean misalignment(R_pred) + 1 - F1 of the peaks of R_eff

One function for all trials: it holds none of a trial's own loss weights, and its scenes are fixed. The logarithm keeps
a single missed source of a loud scene from outweighing all others; the peaks see the shrinkage.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from models.localizer import Localizer, true_covariance
from models.losses import stein_loss, subspace_alignment_loss
from models.physics.geometry import FieldOfView
from models.spectrum.detection import Starts, find_peaks
from pipeline.scenes.reading import load_scenes

_BATCH = 20


def _near(points: tf.Tensor, batch: Mapping[str, tf.Tensor], view: FieldOfView) -> tf.Tensor:
    """Whether a peak [B, T, 3] lies inside the gate about a source: [B, K_max, T] bool."""
    gate = math.radians(view.gate_angle_deg)
    azimuth, elevation, inverse_range = (part[:, None] for part in tf.unstack(points, axis=-1))
    used = tf.sequence_mask(batch["num_sources"], batch["azimuth"].shape[-1])
    return (
        (tf.abs(azimuth - batch["azimuth"][..., None]) <= gate)
        & (tf.abs(elevation - batch["elevation"][..., None]) <= gate)
        & (tf.abs(1.0 / inverse_range - batch["range_m"][..., None]) <= view.gate_range_m)
        & used[..., None]
    )


def surrogate_terms(localizer: Localizer, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """What the surrogate is made of, by scene.

    Args:
      localizer: the trial's: backbone and shrinkage.
      batch: B scenes with the truth.

    Returns:
      stein, misalignment: [B] float32. near: whether a peak lies inside the gate about a source, [B, K_max, T] bool.
      peaks, sources: how many, [B] float32.
    """
    observation = localizer.observe(*(batch[name] for name in ("snapshots", "ris_codes", "channel", "snr_db")))
    prediction = localizer.backbone.predict_covariance(observation)
    true = true_covariance(batch, localizer.scenario)
    amplitude = tf.norm(tf.abs(true.factor), axis=1, keepdims=True)
    directions = true.factor / tf.cast(tf.maximum(amplitude, 1e-12), true.factor.dtype)
    effective = localizer.effective(prediction.covariance, batch["snr_db"], tf.shape(batch["snapshots"])[1])
    starts = Starts(prediction.atoms.parameters[..., :3], prediction.atoms.active)
    peaks = find_peaks(effective, localizer.mvdr, localizer.config.detection, starts)
    return {
        "stein": tf.math.log1p(stein_loss(prediction.covariance, true)),
        "misalignment": subspace_alignment_loss(prediction.covariance, directions),
        "near": _near(peaks.points, batch, localizer.scenario.field_of_view) & peaks.valid[:, None],
        "peaks": tf.reduce_sum(tf.cast(peaks.valid, tf.float32), axis=-1),
        "sources": tf.cast(batch["num_sources"], tf.float32),
    }


def pairs_inside(near: np.ndarray) -> int:
    """Most pairs of a source and a peak near it, each in one pair at most: near [K, T] bool."""
    return int((maximum_bipartite_matching(csr_array(near)) >= 0).sum())


class Surrogate:
    """Scores localizers on the same scenes, low is good.

    Args:
      data_dir, config: where the scenes lie, and which set.
      skip, take: validation scenes left out first, and scored.
    """

    def __init__(self, data_dir: object, config: str, *, skip: int, take: int) -> None:
        scenes = load_scenes(str(data_dir), config, "validation", take=skip + take)
        self.batches = list(scenes.skip(skip).batch(_BATCH))

    def scorer(self, localizer: Localizer) -> Callable[[Callable[[], None]], float]:
        """A function that scores the localizer with its weights as they are; it calls its argument now and then."""
        step = tf.function(lambda batch: surrogate_terms(localizer, batch), autograph=False)

        def score(heartbeat: Callable[[], None]) -> float:
            parts = []
            for batch in self.batches:
                heartbeat()
                parts.append(step(batch))
            terms = {name: tf.concat([part[name] for part in parts], 0).numpy().astype(float) for name in parts[0]}
            found = sum(pairs_inside(near > 0) for near in terms["near"])
            f1 = 2.0 * found / (terms["peaks"].sum() + terms["sources"].sum())
            return float(terms["stein"].mean() + terms["misalignment"].mean() + 1.0 - f1)

        return score
