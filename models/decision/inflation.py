"""Covariances where the model does not hold: the inverse Fisher information times what the measurement shows.

`models.multipath.path_search.mismatch_ratio` is one, give or take a tenth, where the model holds, and above
it where what arrives with a source's symbols is not the column the estimator has for it.
"""

import tensorflow as tf

from models.decision.config import InflationConfig


def inflation(mismatch_ratio: tf.Tensor, config: InflationConfig) -> tf.Tensor:
    """Factors of the atoms' covariances, [B, A] float32, from their mismatch ratios, [B, A]."""
    return tf.clip_by_value(mismatch_ratio, 1.0, config.max_factor)
