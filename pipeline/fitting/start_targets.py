"""Which candidate of the start is which source: what the start is trained on, and its loss."""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.start import Candidates, Start
from models.physics.steering import steering_norm2
from pipeline.fitting.heat_map_targets import true_places

_REACH_CELLS = (1.5, 1.5, 3.0)  # how far from a source a candidate may be to stand for it
_OFFSET_WEIGHT, _POWER_WEIGHT = 0.5, 0.15
_SOFT = 0.1  # errors below it count by their square


class StartTarget(NamedTuple):
    """presence: [B, T] float32, one for candidates that stand for a source. Of those, offsets of the source from the
    grid point, cells, [B, T, 3], and what the log of the candidate's power lacks, [B, T]."""

    presence: tf.Tensor
    offsets: tf.Tensor
    log_power: tf.Tensor


def start_target(
    candidates: Candidates, truth: Mapping[str, tf.Tensor], noise_power: tf.Tensor, dictionary: PolarDictionary
) -> StartTarget:
    """Sources and candidates one to one: the strongest source takes the nearest candidate within reach, and so on.

    Args:
      candidates: of B scenes.
      truth: azimuth, elevation (radians), range_m, power, float32 [B, K_max], and num_sources, int [B].
      noise_power: [B] float32.
      dictionary: the grid of the candidates.
    """
    sources = true_places(truth)
    norm2 = steering_norm2(truth["azimuth"], truth["elevation"], sources.places[..., 2], dictionary.array)
    received = tf.where(sources.used, truth["power"] * norm2, 0.0)
    received *= ((1.0 - noise_power) / tf.reduce_sum(received, axis=-1))[:, None]
    log_power = tf.math.log(tf.maximum(received, 1e-9))
    grid_points = tf.gather(dictionary.places(), candidates.indices)
    away = (sources.places[:, None] - grid_points[:, :, None]) / dictionary.cell_size()  # [B, T, K, 3]
    distance = tf.reduce_max(tf.abs(away) / _REACH_CELLS, axis=-1)
    free = candidates.valid
    taken = tf.zeros_like(distance)  # [B, T, K]
    order = tf.argsort(received, axis=-1, direction="DESCENDING")
    num_candidates, num_sources = distance.shape[1:]
    for turn in range(num_sources):
        source = tf.one_hot(order[:, turn], num_sources)  # [B, K]
        own = tf.reduce_sum(distance * source[:, None], axis=-1)
        nearest = tf.one_hot(tf.argmin(tf.where(free, own, float("inf")), axis=-1), num_candidates)
        known = tf.reduce_sum(source * tf.cast(sources.used, tf.float32), axis=-1)[:, None]
        chosen = nearest * known * tf.cast(free & (own < 1.0), tf.float32)
        free &= chosen == 0.0
        taken += chosen[..., None] * source[:, None]
    offsets = tf.reduce_sum(taken[..., None] * away, axis=2)
    lacks = tf.reduce_sum(taken * (log_power[:, None] - candidates.log_power[..., None]), axis=-1)
    return StartTarget(tf.reduce_sum(taken, axis=-1), offsets, tf.clip_by_value(lacks, -4.0, 4.0))


def _robust(error: tf.Tensor) -> tf.Tensor:
    """|e| that is smooth about zero (Charbonnier et al., 1994)."""
    return tf.sqrt(error**2 + _SOFT**2) - _SOFT


def start_loss(start: Start, target: StartTarget) -> tf.Tensor:
    """Cross-entropy of presence, and errors of place and power of the candidates that stand for sources, [B]."""
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=target.presence, logits=start.logits)
    place = tf.reduce_sum(_robust(start.offsets - target.offsets), axis=-1)
    errors = _OFFSET_WEIGHT * place + _POWER_WEIGHT * _robust(start.log_power - target.log_power)
    return tf.reduce_sum(cross_entropy + target.presence * errors, axis=-1)
