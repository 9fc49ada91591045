"""Learned correction of scores and covariances.

The Laplace score and covariance of `decide` assume a correct model. With a mismatched channel, false detections look
like sources. A small network reads features of the mismatch and of other candidates nearby. It adds to the logit of the
score and scales the covariance. Before training it changes nothing.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from models.covariance_estimator.atoms import AtomEvaluation, Atoms
from models.covariance_estimator.layers import build_in_turn, in_turn
from models.covariance_estimator.new_source import effective_rank
from models.decision.decision import Decision
from models.physics.geometry import Scenario
from models.physics.observation import Observation

NUM_FEATURES = 13
_FARTHEST_M = 10.0  # largest range in the training scenes
_LOG_STRETCH = (-1.0, math.log(30.0))  # limits of the log factor of a covariance
_LEAST_SCORE = 4e-5  # scores have four digits; a score of 1 must survive the round trip


def _log(values: tf.Tensor) -> tf.Tensor:
    return tf.math.log(tf.maximum(values, 1e-8))


def score_logit(score: tf.Tensor) -> tf.Tensor:
    """log(p / (1 - p)) of a score, clipped to the resolution of scores: [...] float32 -> [...] float32."""
    score = tf.clip_by_value(score, _LEAST_SCORE, 1.0 - _LEAST_SCORE)
    return tf.math.log(score) - tf.math.log(1.0 - score)


def score_features(
    decision: Decision,
    atoms: Atoms,
    evaluation: AtomEvaluation,
    mismatch: tf.Tensor,
    observation: Observation,
    scenario: Scenario,
) -> tf.Tensor:
    """Features of each candidate, inputs of `ScoreCorrection`: [B, A, NUM_FEATURES] float32, zero for inactive atoms.

    In this order: logit of the score; log of the log-likelihood ratio; log ratio of estimated to reported noise power;
    log of the reported noise power; log of the range, scaled to at most 10; log of the position's standard deviation
    relative to the gate; the same relative to the range; log power relative to the strongest candidate; number of
    candidates relative to K_max; log distance to the nearest stronger candidate in beam widths; log of its relative
    power; log of the channel's effective rank, since a low-rank channel leaves ambiguous positions; log of the mismatch
    ratio. All are scaled to order one. The installation gives the units. The mismatch ratios are [B, A] float32.
    """
    powers, active = atoms.powers(), atoms.active
    variance = tf.linalg.diag_part(decision.position_cov_m2)
    deviation_m = tf.sqrt(tf.maximum(tf.reduce_sum(variance, axis=-1), 1e-10))
    place = tf.concat([tf.sin(atoms.parameters[..., :2]), atoms.parameters[..., 2:3]], axis=-1) / _resolution(scenario)
    distance = tf.norm(place[:, :, None] - place[:, None] + 1e-6, axis=-1)
    stronger = (powers[:, None] > powers[:, :, None]) & active[:, None]
    nearest = tf.reduce_min(tf.where(stronger, distance, 20.0), axis=-1)
    which = tf.argmin(tf.where(stronger, distance, 20.0), axis=-1)
    its_power = tf.where(tf.reduce_any(stronger, axis=-1), tf.gather(powers, which, batch_dims=1), powers)
    everywhere, view = tf.ones_like(powers), scenario.field_of_view
    reported_noise_power = observation.noise_power
    features = [
        0.3 * score_logit(decision.score),
        _log(tf.maximum(evaluation.llr, 1.0)) - 4.0,
        _log(atoms.noise_power / reported_noise_power)[:, None] * everywhere,
        0.5 * _log(reported_noise_power)[:, None] * everywhere,
        _log(decision.range_m * (_FARTHEST_M / view.range_m[1])),
        0.5 * _log(deviation_m / view.gate_range_m),
        0.5 * _log(deviation_m / tf.maximum(decision.range_m, 1e-3)),
        0.5 * _log(powers / tf.maximum(tf.reduce_max(powers, axis=-1, keepdims=True), 1e-8)),
        tf.reduce_sum(tf.cast(active, tf.float32), axis=-1, keepdims=True) / scenario.max_sources * everywhere,
        _log(nearest),
        0.5 * _log(its_power / tf.maximum(powers, 1e-8)),
        0.5 * _log(effective_rank(observation.channel))[:, None] * everywhere,
        _log(mismatch),
    ]
    return tf.where(active[..., None], tf.stack(features, axis=-1), 0.0)


def _resolution(scenario: Scenario) -> np.ndarray:
    """Beam widths in sin(azimuth) and sin(elevation), and a quarter of the field of view in inverse range, 1/m."""
    array, (low, high) = scenario.array, scenario.field_of_view.inverse_range
    beams = array.wavelength_m / np.array(array.aperture_m)
    return np.append(beams, (high - low) / 4.0).astype(np.float32)


@keras.saving.register_keras_serializable("ris_mvdr")
class ScoreCorrection(keras.layers.Layer):
    """A network with two hidden layers of `width` units, from `score_features` to corrections of score and covariance.

    Its outputs are zero before training.
    """

    def __init__(self, width: int = 24, **kwargs) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.hidden = [keras.layers.Dense(width, activation="gelu", name=f"hidden_{i}") for i in range(2)]
        self.readout = keras.layers.Dense(2, kernel_initializer="zeros", name="readout")

    def build(self, input_shape) -> None:
        build_in_turn([*self.hidden, self.readout], input_shape)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Corrections of the logit of the score and of the log of the covariance: [..., NUM_FEATURES] -> [..., 2]."""
        to_logit, log_stretch = tf.unstack(in_turn([*self.hidden, self.readout], features), axis=-1)
        return tf.stack([to_logit, tf.clip_by_value(log_stretch, *_LOG_STRETCH)], axis=-1)

    def correct(self, decision: Decision, features: tf.Tensor) -> Decision:
        """Corrects scores and covariances of a decision. A score of zero stays zero."""
        to_logit, log_stretch = tf.unstack(self(features), axis=-1)
        corrected = tf.round(1e4 * tf.sigmoid(score_logit(decision.score) + to_logit)) / 1e4
        return decision._replace(
            score=tf.where(decision.score > 0.0, corrected, 0.0),
            position_cov_m2=decision.position_cov_m2 * tf.exp(log_stretch)[..., None, None],
        )

    def get_config(self) -> dict:
        return {**super().get_config(), "width": self.width}
