"""What free space says of sources that transmit alike: log p_k = t - 2 log r_k + e_k, with one unknown t a scene.

The near sources, whose ranges are sharp, tell t; t and its received power then tell the range of a far source, which
the curvature of its wavefront hardly does. How alike transmit powers are, the deviation of e_k, is not told either: it
is one of a few, the same for all sources of a scene, and has a prior. Sources are tied by t and that spread alone, so
sums over a grid of both give the posterior exactly (a star-shaped factor graph; Kschischang, Frey and Loeliger 2001).
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.physics.config import PathLossConfig

LOG_POWER_WIDTH = 6.0
"""Width of the flat prior of a log power that follows no law: 26 dB, the path loss over the field of view."""

_LEVELS = np.linspace(-6.0, 6.0, 161, dtype=np.float32)  # t of a scene normalised to unit received power
_DECIBEL = math.log(10.0) / 10.0


def _spreading(config: PathLossConfig) -> np.ndarray:
    """P(a source's level is at a grid point t' | common level t), beyond the least spread, [spread, t, t'] float32."""
    least = config.power_spreads_db[0]
    kernels = [np.eye(_LEVELS.size)]
    for spread in config.power_spreads_db[1:]:
        variance = _DECIBEL**2 * (spread**2 - least**2)
        gap2 = (_LEVELS[:, None] - _LEVELS) ** 2
        kernel = np.exp(-0.5 * gap2 / variance)
        kernels.append(kernel / kernel.sum(axis=0))  # a lone source says nothing of its level, at the grid's ends too
    return np.array(kernels, np.float32)


class RangePosteriors(NamedTuple):
    """Sources' posteriors before the law is known, on nodes of range.

    range_m, log_power: [B, A, n] float32, the log power expected at that range.
    log_power_variance: [B, A] float32, given the range.
    weights: [B, A, n] float32, posterior mass of each node, sums to one.
    exists: [B, A] float32, probability that the source is one.
    """

    range_m: tf.Tensor
    log_power: tf.Tensor
    log_power_variance: tf.Tensor
    weights: tf.Tensor
    exists: tf.Tensor


def path_loss_factor(candidates: RangePosteriors, config: PathLossConfig) -> tf.Tensor:
    """By how much all other sources make each node of each source more probable than a flat prior of its power does.

    Args:
      candidates: A sources a scene.
      config: trust in the law.

    Returns:
      [B, A, n] float32, positive; one where `unrelated_share` is one.
    """
    level = candidates.log_power + 2.0 * tf.math.log(candidates.range_m)
    density = _density(level, candidates.log_power_variance[..., None], config)
    at_least_spread = tf.einsum("ban,banu->bau", candidates.weights, density)
    message, spreading = _messages(at_least_spread, candidates.exists, config)
    others = _log_prior(config) + tf.reduce_sum(message, axis=1, keepdims=True) - message
    others -= tf.reduce_logsumexp(others, axis=(2, 3), keepdims=True)
    expected = tf.einsum("bast,stu->bau", tf.exp(others), spreading)
    lawful = (1.0 - config.unrelated_share) * LOG_POWER_WIDTH
    return lawful * tf.einsum("bau,banu->ban", expected, density) + config.unrelated_share


def log_evidence(level: tf.Tensor, variance: tf.Tensor, active: tf.Tensor, config: PathLossConfig) -> tf.Tensor:
    """How much more probable the law makes all levels together than flat priors of the log powers do.

    Args:
      level: log p + 2 log r as estimated, [B, A] float32. variance: of it, [B, A]. active: [B, A] bool.
      config: trust in the law.

    Returns:
      [B] float32, a logarithm; zero of no source.
    """
    message, _ = _messages(_density(level, variance, config), tf.cast(active, tf.float32), config)
    mean = math.log(_LEVELS.size)
    return tf.reduce_logsumexp(_log_prior(config) + tf.reduce_sum(message, axis=1), axis=(1, 2)) - mean


def _density(level: tf.Tensor, variance: tf.Tensor, config: PathLossConfig) -> tf.Tensor:
    """Of the level at each grid point at the least spread: [...] -> [..., t]."""
    variance = (variance + (_DECIBEL * config.power_spreads_db[0]) ** 2 + 1e-4)[..., None]
    return tf.exp(-0.5 * (level[..., None] - _LEVELS) ** 2 / variance) / tf.sqrt(2.0 * math.pi * variance)


def _messages(density: tf.Tensor, exists: tf.Tensor, config: PathLossConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Log of what each source says of spread and common level, [B, A, spread, t], from its [B, A, t]; the spreading."""
    spreading = tf.constant(_spreading(config))
    lawful = (1.0 - config.unrelated_share) * LOG_POWER_WIDTH
    by_source = lawful * tf.einsum("bau,stu->bast", density, spreading) + config.unrelated_share
    exists = exists[..., None, None]
    return tf.math.log(exists * by_source + 1.0 - exists), spreading


def _log_prior(config: PathLossConfig) -> np.ndarray:
    """Of the spreads, [spread, 1]."""
    return np.log(np.array(config.spread_shares, np.float32) / sum(config.spread_shares))[:, None]
