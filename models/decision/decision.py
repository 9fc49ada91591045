"""Posterior position, its covariance, and the probability that a reported source is a hit.

The likelihood of an atom is approximated by a Gaussian in (azimuth, elevation, 1/r) (Laplace approximation). The prior
is uniform in angles and in range over the field of view. The reported range maximises the posterior mass within the
gate, because a source reported outside the gate counts as a miss and as a false alarm. The probability that a source
exists follows from the Laplace evidence
    log odds = log-likelihood ratio + log((2 pi)^2 |C|^(1/2)) - log(prior volume).
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.covariance_estimator.atoms import PARAMETERS_PER_ATOM, AtomEvaluation, Atoms
from models.covariance_estimator.likelihood import error_covariance
from models.decision.config import DecisionConfig
from models.physics.geometry import FieldOfView
from models.physics.path_loss import LOG_POWER_WIDTH, RangePosteriors, path_loss_factor
from models.physics.steering import source_positions_m


class Decision(NamedTuple):
    """Posterior estimates of each atom, all float32.

    azimuth, elevation: [B, A], radians.
    range_m: [B, A], metres.
    position_m: [B, A, 3], metres.
    position_cov_m2: [B, A, 3, 3], m^2.
    score: probability of being a hit, [B, A].
    """

    azimuth: tf.Tensor
    elevation: tf.Tensor
    range_m: tf.Tensor
    position_m: tf.Tensor
    position_cov_m2: tf.Tensor
    score: tf.Tensor


_LAW_RANGE_M = FieldOfView().typical_range_m  # the fixed level grid of the path-loss law is centred on it
_NUM_NODES, _WIDTH = 41, 4.0  # quadrature nodes in inverse range, over +-4 standard deviations


def _normal_mass(error: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
    """P(|x| <= error) for x ~ N(0, deviation^2)."""
    return tf.math.erf(error / (math.sqrt(2.0) * deviation))


def _log_existence_odds(covariance: tf.Tensor, llr: tf.Tensor, range_m: tf.Tensor, view: FieldOfView) -> tf.Tensor:
    deviation = tf.sqrt(tf.linalg.diag_part(covariance))
    correlation = covariance / (deviation[..., :, None] * deviation[..., None, :])
    eye = 1e-5 * tf.eye(PARAMETERS_PER_ATOM)
    chol = tf.linalg.cholesky(correlation + eye)
    half_log_det = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(chol)) + tf.math.log(deviation), axis=-1)
    angles = (view.azimuth[1] - view.azimuth[0]) * (view.elevation[1] - view.elevation[0])
    constant = math.log(angles * (view.range_m[1] - view.range_m[0]) * LOG_POWER_WIDTH)
    log_volume = constant - 2.0 * tf.math.log(range_m)  # uniform in r is density r^2 / (r_max - r_min) in 1/r
    return llr + 2.0 * math.log(2.0 * math.pi) + half_log_det - log_volume


def _range_nodes(mean: tf.Tensor, deviation: tf.Tensor, view: FieldOfView) -> tf.Tensor:
    """Inverse ranges that cover the part of the posterior inside the field of view: [B, A, nodes]."""
    low, high = view.inverse_range
    least = tf.minimum(deviation, 0.5 * (high - low))
    first = tf.clip_by_value(mean - _WIDTH * deviation, low, high - least)
    last = tf.clip_by_value(mean + _WIDTH * deviation, low + least, high)
    steps = np.linspace(0.0, 1.0, _NUM_NODES, dtype=np.float32)
    return first[..., None] + steps * (last - first)[..., None]


def decide(
    atoms: Atoms,
    evaluation: AtomEvaluation,
    view: FieldOfView,
    config: DecisionConfig,
    inflation: tf.Tensor | None = None,
) -> Decision:
    """Computes posterior estimates and scores of the atoms.

    Args:
      atoms, evaluation: atoms at the maximum of the likelihood, [B, A], and the likelihood at them.
      view: support of the prior.
      config: gates, and the prior of the transmit powers.
      inflation: factor of each atom's covariance relative to the inverse Fisher information, [B, A] float32, at least
        1; None for 1.

    Returns:
      The decision. Inactive atoms have a score of zero; their other entries are undefined.
    """
    covariance = error_covariance(evaluation.fisher, tf.shape(atoms.active)[-1])
    if inflation is not None:
        covariance *= inflation[..., None, None]
    azimuth, elevation, mean_w, log_power = tf.unstack(atoms.parameters, axis=-1)
    variance_w = covariance[..., 2, 2]
    nodes_w = _range_nodes(mean_w, tf.sqrt(variance_w), view)
    nodes_r = 1.0 / nodes_w
    shift = nodes_w - mean_w[..., None]
    weights = tf.nn.softmax(-0.5 * shift**2 / variance_w[..., None] + 2.0 * tf.math.log(nodes_r), axis=-1)

    mean_range_m = tf.reduce_sum(weights * nodes_r, axis=-1)
    log_odds = _log_existence_odds(covariance, evaluation.llr, mean_range_m, view)
    log_odds = tf.where(atoms.active, log_odds, -np.float32(np.inf))
    power_slope = covariance[..., 3, 2] / variance_w
    candidates = RangePosteriors(
        range_m=_LAW_RANGE_M / view.typical_range_m * nodes_r,
        log_power=log_power[..., None] + power_slope[..., None] * shift,
        log_power_variance=tf.maximum(covariance[..., 3, 3] - power_slope * covariance[..., 3, 2], 0.0),
        weights=weights,
        exists=tf.sigmoid(log_odds),
    )
    weights *= path_loss_factor(candidates, config.path_loss)
    evidence = tf.reduce_sum(weights, axis=-1, keepdims=True)
    weights /= evidence

    gate_range_m = config.gate_range_m or view.gate_range_m
    mean_r = tf.reduce_sum(weights * nodes_r, axis=-1, keepdims=True)
    candidates = tf.concat([nodes_r, mean_r], axis=-1)
    offset = tf.abs(candidates[..., :, None] - nodes_r[..., None, :])
    mass = tf.reduce_sum(weights[..., None, :] * tf.cast(offset <= gate_range_m, tf.float32), axis=-1)
    preference = mass - 1e-3 * tf.abs(candidates - mean_r) / gate_range_m
    best = tf.argmax(preference, axis=-1)
    range_m = tf.gather(candidates, best, batch_dims=2)
    range_mass = tf.gather(mass, best, batch_dims=2)

    regression = covariance[..., :2, 2] / variance_w[..., None]  # correlation of the angles with the range
    mean_shift = tf.reduce_sum(weights * shift, axis=-1)
    reported = [
        tf.clip_by_value(mean + regression[..., i] * mean_shift, *limits)
        for i, (mean, limits) in enumerate([(azimuth, view.azimuth), (elevation, view.elevation)])
    ]
    position = source_positions_m(reported[0], reported[1], range_m)
    nodes_azimuth = azimuth[..., None] + regression[..., 0, None] * shift
    nodes_elevation = elevation[..., None] + regression[..., 1, None] * shift
    places = source_positions_m(nodes_azimuth, nodes_elevation, nodes_r)
    error = places - position[..., None, :]
    cell = 0.5 * (
        tf.concat([places[..., 1:, :], places[..., -1:, :]], -2)
        - tf.concat([places[..., :1, :], places[..., :-1, :]], -2)
    )
    conditional = covariance[..., :2, :2] - regression[..., :, None] * covariance[..., 2:3, :2]
    slopes = angle_slopes(reported[0], reported[1], range_m)
    spread = tf.concat([error, cell / math.sqrt(12.0)], axis=-2)  # a node represents its cell
    position_cov = tf.matmul(tf.tile(weights, [1, 1, 2])[..., None] * spread, spread, transpose_a=True)
    position_cov += tf.matmul(slopes, tf.matmul(conditional, slopes), transpose_a=True)

    gate = math.radians(config.gate_angle_deg or view.gate_angle_deg)
    angle_mass = tf.reduce_prod(_normal_mass(gate, tf.sqrt(tf.linalg.diag_part(covariance)[..., :2])), axis=-1)
    exists = tf.sigmoid(log_odds + tf.math.log(evidence[..., 0]))
    score = tf.where(atoms.active, exists * angle_mass * range_mass, 0.0)
    score = tf.round(1e4 * tf.minimum(score, 1.0)) / 1e4  # same order of near-certain sources on every machine
    return Decision(reported[0], reported[1], range_m, position, position_cov, score)


def angle_slopes(azimuth: tf.Tensor, elevation: tf.Tensor, range_m: tf.Tensor) -> tf.Tensor:
    """dq/d(azimuth, elevation), metres per radian: [..., 2, 3]; angles in radians, range in metres."""
    sin_az, cos_az, sin_el, cos_el = tf.sin(azimuth), tf.cos(azimuth), tf.sin(elevation), tf.cos(elevation)
    by_azimuth = tf.stack([-cos_el * sin_az, cos_el * cos_az, tf.zeros_like(sin_az)], axis=-1)
    by_elevation = tf.stack([-sin_el * cos_az, -sin_el * sin_az, cos_el], axis=-1)
    return range_m[..., None, None] * tf.stack([by_azimuth, by_elevation], axis=-2)
