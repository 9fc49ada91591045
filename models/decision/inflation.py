"""Inflation of the covariances where the measurement shows a model mismatch.

The covariance is the inverse Fisher information times `models.multipath.mismatch.mismatch_ratio`. The ratio is one
with a standard deviation of 0.1 if the model is correct, and larger if the received column of a source differs from the
estimated one.
"""

import tensorflow as tf

from models.decision.config import InflationConfig


def inflation(mismatch_ratio: tf.Tensor, config: InflationConfig) -> tf.Tensor:
    """Factors of the covariances from mismatch ratios: [B, A] float32 -> [B, A] float32."""
    return tf.clip_by_value(mismatch_ratio, 1.0, config.max_factor)
