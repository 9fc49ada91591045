"""Covariances where the model does not hold: the inverse Fisher information times what the measurement shows.

`models.covariance_estimator.path_search.mismatch_ratio` is one, give or take a tenth, where the model holds, and above
it where what arrives with a source's symbols is not the column the estimator has for it.
"""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class InflationConfig:
    """How far covariances follow the mismatch ratio."""

    tolerance: float = 0.1
    """Excess of the ratio over one that noise alone explains; less leaves covariances as they are."""
    max_factor: float = 30.0
    """Largest factor; 1 reports the inverse Fisher information everywhere."""

    def __post_init__(self) -> None:
        if self.tolerance < 0:
            raise ValueError(f"InflationConfig.tolerance: expected at least 0, got {self.tolerance!r}")
        if not self.max_factor >= 1:
            raise ValueError(f"InflationConfig.max_factor: expected at least 1, got {self.max_factor!r}")


def inflation(mismatch_ratio: tf.Tensor, config: InflationConfig) -> tf.Tensor:
    """Factors of the atoms' covariances, [B, A] float32, from their mismatch ratios, [B, A]."""
    return tf.clip_by_value(mismatch_ratio - config.tolerance, 1.0, config.max_factor)
