"""Training targets of the start network: which candidate belongs to which true source, and the loss."""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.start import Candidates, Start
from models.physics.steering import steering_norm2
from pipeline.fitting.heat_map_targets import source_coordinates

_MAX_OFFSET_CELLS = (1.5, 1.5, 3.0)  # largest offset at which a candidate is matched to a source
_OFFSET_WEIGHT, _POWER_WEIGHT = 0.5, 0.15
_CHARBONNIER_SCALE = 0.1  # smaller errors count quadratically


class StartTarget(NamedTuple):
    """What the start network is trained to output for T candidates; 0 for those without a source."""

    presence: tf.Tensor
    """1 for candidates matched to a source, [B, T] float32."""
    offsets: tf.Tensor
    """Of the matched source from the grid point of the candidate, in cells, [B, T, 3]."""
    log_power: tf.Tensor
    """Natural log of the ratio of the source's power to the candidate's, [B, T]."""


def start_target(
    candidates: Candidates, truth: Mapping[str, tf.Tensor], noise_power: tf.Tensor, dictionary: PolarDictionary
) -> StartTarget:
    """Matches sources and candidates one to one: from the strongest source on, each takes the nearest free candidate.

    Args:
      candidates: T grid points in each of B scenes.
      truth: that of `source_coordinates`, and power, [B, K_max] float32.
      noise_power: share of the noise in the received power, [B] float32.
    """
    sources = source_coordinates(truth)
    norm2 = steering_norm2(truth["azimuth"], truth["elevation"], sources.coordinates[..., 2], dictionary.array)
    received = tf.where(sources.used, truth["power"] * norm2, 0.0)
    received *= ((1.0 - noise_power) / tf.reduce_sum(received, axis=-1))[:, None]
    log_power = tf.math.log(tf.maximum(received, 1e-9))
    grid_points = tf.gather(dictionary.places(), candidates.indices)
    offset = (sources.coordinates[:, None] - grid_points[:, :, None]) / dictionary.cell_size()  # [B, T, K, 3]
    distance = tf.reduce_max(tf.abs(offset) / _MAX_OFFSET_CELLS, axis=-1)
    free = candidates.valid
    taken = tf.zeros_like(distance)  # [B, T, K]
    order = tf.argsort(received, axis=-1, direction="DESCENDING")
    num_candidates, num_sources = distance.shape[1:]
    for rank in range(num_sources):
        source = tf.one_hot(order[:, rank], num_sources)  # [B, K]
        own = tf.reduce_sum(distance * source[:, None], axis=-1)
        nearest = tf.one_hot(tf.argmin(tf.where(free, own, float("inf")), axis=-1), num_candidates)
        known = tf.reduce_sum(source * tf.cast(sources.used, tf.float32), axis=-1)[:, None]
        chosen = nearest * known * tf.cast(free & (own < 1.0), tf.float32)
        free &= chosen == 0.0
        taken += chosen[..., None] * source[:, None]
    offsets = tf.reduce_sum(taken[..., None] * offset, axis=2)
    log_ratio = tf.reduce_sum(taken * (log_power[:, None] - candidates.log_power[..., None]), axis=-1)
    return StartTarget(tf.reduce_sum(taken, axis=-1), offsets, tf.clip_by_value(log_ratio, -4.0, 4.0))


def _robust(error: tf.Tensor) -> tf.Tensor:
    """A smooth |e| (Charbonnier et al., 1994)."""
    return tf.sqrt(error**2 + _CHARBONNIER_SCALE**2) - _CHARBONNIER_SCALE


def start_loss(start: Start, target: StartTarget) -> tf.Tensor:
    """Cross-entropy of the presence, plus the errors of position and power of the matched candidates, [B] float32."""
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=target.presence, logits=start.logits)
    offset = tf.reduce_sum(_robust(start.offsets - target.offsets), axis=-1)
    errors = _OFFSET_WEIGHT * offset + _POWER_WEIGHT * _robust(start.log_power - target.log_power)
    return tf.reduce_sum(cross_entropy + target.presence * errors, axis=-1)
