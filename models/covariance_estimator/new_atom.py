"""The exact gain of one more atom, as a function of its power.

Over the atoms already in S_l, a new atom a of power gamma gains

    sum_l gamma b_l / (1 + gamma alpha_l) - log(1 + gamma alpha_l),
    alpha_l = a^H Phi_l^H S_l^-1 Phi_l a,    b_l = |a^H Phi_l^H S_l^-1 y_l|^2.
"""

import tensorflow as tf

_POWER_STEPS = 4


def best_power(alpha: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The power at which a new atom gains most, by Fisher scoring in its logarithm.

    Args:
      alpha, b: [B, L, C] float32 as in the module's docstring.

    Returns:
      [B, C] float32, positive; meaningless where no power gains anything, that is where sum_l b_l <= sum_l alpha_l.
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
    """What a new atom of that power gains: power [B, C], alpha and b [B, L, C] -> [B, C]."""
    loaded = power[:, None] * alpha
    return tf.reduce_sum(power[:, None] * b / (1.0 + loaded) - tf.math.log1p(loaded), axis=1)
