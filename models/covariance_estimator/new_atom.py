"""Exact log-likelihood ratio of one new atom, as a function of its power.

Given the atoms in S_l, a new atom a of power gamma has the log-likelihood ratio

    sum_l gamma b_l / (1 + gamma alpha_l) - log(1 + gamma alpha_l),
    alpha_l = a^H Phi_l^H S_l^-1 Phi_l a,    b_l = |a^H Phi_l^H S_l^-1 y_l|^2.
"""

import tensorflow as tf

_POWER_STEPS = 4


def best_power(alpha: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The power that maximises the log-likelihood ratio of a new atom, by Fisher scoring in the log power.

    alpha and b [B, L, C] float32 -> [B, C] float32, positive. Undefined where no power increases the likelihood, that
    is sum_l b_l <= sum_l alpha_l.
    """
    excess = tf.reduce_sum(b - alpha, axis=1)
    log_power = tf.math.log(tf.maximum(excess, 1e-6) / tf.reduce_sum(alpha**2, axis=1))
    for _ in range(_POWER_STEPS):
        loaded = tf.exp(log_power)[:, None] * alpha
        explained = loaded / (1.0 + loaded)
        seen = tf.exp(log_power)[:, None] * b / (1.0 + loaded) ** 2
        step = tf.reduce_sum(seen - explained, axis=1) / tf.reduce_sum(explained**2, axis=1)
        log_power += tf.clip_by_value(step, -1.0, 1.0)
    return tf.exp(log_power)


def llr_at(power: tf.Tensor, alpha: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Log-likelihood ratio of a new atom of that power: power [B, C], alpha and b [B, L, C] -> [B, C], all float32."""
    loaded = power[:, None] * alpha
    return tf.reduce_sum(power[:, None] * b / (1.0 + loaded) - tf.math.log1p(loaded), axis=1)
