"""Free-space path loss of sources with similar transmit powers: log p_k = t - 2 log r_k + e_k.

The level t is common to a scene and unknown. Near sources have accurate ranges and so determine t. Then t and the
received power of a far source determine its range, for which the curvature of its wavefront gives little information.
The standard deviation of e_k is unknown too: it takes one of a few values, with a prior, and is the same for all
sources of a scene. The sources depend on each other through t and this spread only. Sums over a grid of both therefore
give the exact posterior (a star-shaped factor graph; Kschischang, Frey and Loeliger 2001).
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.physics.config import PathLossConfig

LOG_POWER_WIDTH = 6.0
"""Width of the flat prior on a log power that follows no path-loss law: 26 dB, the path loss over the field of view."""

_LEVELS = np.linspace(-6.0, 6.0, 161, dtype=np.float32)  # grid of t; scenes are normalised to unit received power
_DECIBEL = math.log(10.0) / 10.0


def _spreading(config: PathLossConfig) -> np.ndarray:
    """P(level of a source = t' | common level t) by the spread beyond the smallest one, [spread, t, t'] float32."""
    least = config.power_spreads_db[0]
    kernels = [np.eye(_LEVELS.size)]
    for spread in config.power_spreads_db[1:]:
        variance = _DECIBEL**2 * (spread**2 - least**2)
        gap2 = (_LEVELS[:, None] - _LEVELS) ** 2
        kernel = np.exp(-0.5 * gap2 / variance)
        kernels.append(kernel / kernel.sum(axis=0))  # a single source must not prefer a level, even at the grid's ends
    return np.array(kernels, np.float32)


class RangePosteriors(NamedTuple):
    """Posteriors of the sources' ranges on quadrature nodes, without the path-loss law.

    range_m: [B, A, n] float32, metres.
    log_power: [B, A, n] float32, expected log power at that range.
    log_power_variance: [B, A] float32, variance of the log power at a given range.
    weights: [B, A, n] float32, posterior probability of each node; sums to one.
    exists: [B, A] float32, probability that the source is real.
    """

    range_m: tf.Tensor
    log_power: tf.Tensor
    log_power_variance: tf.Tensor
    weights: tf.Tensor
    exists: tf.Tensor


def path_loss_factor(candidates: RangePosteriors, config: PathLossConfig) -> tf.Tensor:
    """Likelihood ratio of each range node given all other sources, against a flat prior on the power.

    [B, A, n] float32, positive; one if `unrelated_share` is one.
    """
    level = candidates.log_power + 2.0 * tf.math.log(candidates.range_m)
    density = _density(level, candidates.log_power_variance[..., None], config)
    at_least_spread = tf.linalg.matvec(density, candidates.weights, transpose_a=True)
    message, spreading = _messages(at_least_spread, candidates.exists, config)
    others = _log_prior(config) + tf.reduce_sum(message, axis=1, keepdims=True) - message
    others -= tf.reduce_logsumexp(others, axis=(2, 3), keepdims=True)
    expected = tf.tensordot(tf.exp(others), spreading, 2)
    lawful = (1.0 - config.unrelated_share) * LOG_POWER_WIDTH
    return lawful * tf.linalg.matvec(density, expected) + config.unrelated_share


def log_evidence(level: tf.Tensor, variance: tf.Tensor, active: tf.Tensor, config: PathLossConfig) -> tf.Tensor:
    """Log evidence of the path-loss law for all levels of a scene, against flat priors on the log powers.

    [B] float32; zero without sources. `level` and `variance` are those of the estimates of log p + 2 log r, [B, A]
    float32; `active` [B, A] bool tells which sources count.
    """
    message, _ = _messages(_density(level, variance, config), tf.cast(active, tf.float32), config)
    mean = math.log(_LEVELS.size)
    return tf.reduce_logsumexp(_log_prior(config) + tf.reduce_sum(message, axis=1), axis=(1, 2)) - mean


def _density(level: tf.Tensor, variance: tf.Tensor, config: PathLossConfig) -> tf.Tensor:
    """Density of the level at each grid point, for the smallest spread: [...] -> [..., t]."""
    variance = (variance + (_DECIBEL * config.power_spreads_db[0]) ** 2 + 1e-4)[..., None]
    return tf.exp(-0.5 * (level[..., None] - _LEVELS) ** 2 / variance) / tf.sqrt(2.0 * math.pi * variance)


def _messages(density: tf.Tensor, exists: tf.Tensor, config: PathLossConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Log messages from each source to spread and common level, [B, A, spread, t], and the matrix of `_spreading`.

    `density` is that of `_density`, [B, A, t]; `exists` is the probability that a source is real, [B, A].
    """
    spreading = tf.constant(_spreading(config))
    lawful = (1.0 - config.unrelated_share) * LOG_POWER_WIDTH
    by_source = lawful * tf.tensordot(density, spreading, [[-1], [-1]]) + config.unrelated_share
    exists = exists[..., None, None]
    return tf.math.log(exists * by_source + 1.0 - exists), spreading


def _log_prior(config: PathLossConfig) -> np.ndarray:
    """Log prior of the spreads, [spread, 1] float32."""
    return np.log(np.array(config.spread_shares, np.float32) / sum(config.spread_shares))[:, None]
