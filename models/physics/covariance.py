"""The covariance in the surface's domain, and its conditioning to R_eff.

Training, validation, MVDR and export all use `effective_covariance` or its low-rank form `effective_low_rank`. Both use
`shrinkage_coefficient`.
"""

import warnings
from typing import NamedTuple

import tensorflow as tf

from models.physics.config import ShrinkageConfig

_REFERENCE_BASE_ALPHA = 1e-3
_REFERENCE_SNAPSHOTS = 16.0
_SNR_STEPS_DB = (15.0, 8.0, 3.0, -2.0)
_SNR_FACTORS = (0.02, 0.04, 0.07, 0.10, 0.14)


def as_complex(values: tf.Tensor) -> tf.Tensor:
    """Converts real values to complex values of the same precision.

    The gradient is the real part. `tf.cast` would have the same gradient, but TensorFlow warns about its cast back.
    """
    return tf.complex(values, tf.zeros_like(values))


class LowRankCovariance(NamedTuple):
    """R = U U^H + floor I, the representation of R_pred and R_eff.

    factor: U, [B, N, A] complex; a zero column is an unused atom.
    floor: [B] real, positive.
    """

    factor: tf.Tensor
    floor: tf.Tensor

    def dense(self) -> tf.Tensor:
        """R, [B, N, N] complex."""
        gram = tf.matmul(self.factor, self.factor, adjoint_b=True)
        floor = as_complex(self.floor)[:, None, None]
        return gram + floor * tf.eye(tf.shape(gram)[-1], dtype=gram.dtype)

    def trace(self) -> tf.Tensor:
        """tr R, [B] real."""
        num_elements = tf.cast(tf.shape(self.factor)[-2], self.floor.dtype)
        return tf.reduce_sum(tf.abs(self.factor) ** 2, axis=(-2, -1)) + num_elements * self.floor


def shrinkage_coefficient(snr_db: tf.Tensor, num_snapshots: tf.Tensor, config: ShrinkageConfig) -> tf.Tensor:
    """alpha = clip(base_alpha / 1e-3 * f(SNR) * sqrt(16 / L)), [B], the dtype of snr_db, in [min_alpha, max_alpha].

    `snr_db` is [B] float32 or float64, dB; `num_snapshots` is L, an integer scalar. docs/conventions.md has the table
    of f.
    """
    snr_db = tf.convert_to_tensor(snr_db)
    step = tf.reduce_sum([tf.cast(snr_db < level, tf.int32) for level in _SNR_STEPS_DB], axis=0)
    factor = tf.gather(tf.constant(_SNR_FACTORS, snr_db.dtype), step)
    snapshots_scale = tf.sqrt(_REFERENCE_SNAPSHOTS / tf.cast(num_snapshots, snr_db.dtype))
    alpha = config.base_alpha / _REFERENCE_BASE_ALPHA * factor * snapshots_scale
    return tf.clip_by_value(alpha, config.min_alpha, config.max_alpha)


def _hermitian_unit_trace(covariance: tf.Tensor) -> tf.Tensor:
    """(R + R^H) / 2, scaled to trace N."""
    covariance = 0.5 * (covariance + tf.linalg.adjoint(covariance))
    trace = tf.math.real(tf.linalg.trace(covariance))
    num_elements = tf.cast(tf.shape(covariance)[-1], trace.dtype)
    return covariance * as_complex(num_elements / trace)[..., None, None]


def effective_covariance(
    covariance: tf.Tensor, snr_db: tf.Tensor, num_snapshots: tf.Tensor, config: ShrinkageConfig = ShrinkageConfig()
) -> tf.Tensor:
    """R_eff: takes the Hermitian part, scales it to trace N and shrinks it, (1 - alpha) R + alpha I.

    Args:
      covariance: R, [B, N, N] complex64 or complex128, with a positive trace.
      snr_db: [B] real, dB.
      num_snapshots: L, integer scalar.
      config: the shrinkage.

    Returns:
      [B, N, N], the dtype of covariance, trace N. The smallest eigenvalue is at least alpha if R is positive
        semi-definite.
    """
    covariance = _hermitian_unit_trace(covariance)
    alpha = tf.cast(shrinkage_coefficient(snr_db, num_snapshots, config), covariance.dtype)[:, None, None]
    return (1.0 - alpha) * covariance + alpha * tf.eye(tf.shape(covariance)[-1], dtype=covariance.dtype)


def effective_low_rank(
    covariance: LowRankCovariance,
    snr_db: tf.Tensor,
    num_snapshots: tf.Tensor,
    config: ShrinkageConfig = ShrinkageConfig(),
) -> LowRankCovariance:
    """`effective_covariance` of a low-rank R, without forming R. The result has trace N."""
    num_elements = tf.cast(tf.shape(covariance.factor)[-2], covariance.floor.dtype)
    to_unit_trace = num_elements / covariance.trace()
    alpha = tf.cast(shrinkage_coefficient(snr_db, num_snapshots, config), covariance.floor.dtype)
    scale = (1.0 - alpha) * to_unit_trace
    factor = covariance.factor * as_complex(tf.sqrt(scale))[:, None, None]
    return LowRankCovariance(factor, scale * covariance.floor + alpha)


def hybrid_covariance(predicted: tf.Tensor, sampled: tf.Tensor, beta: float, num_antennas: int) -> tf.Tensor:
    """(1 - beta) R_pred + beta R_samp, both scaled to trace N, for users who have a sample covariance.

    The localizer does not use this function: its beta is 0. R_pred and R_samp are [B, N, N] complex.

    Raises:
      ValueError: beta is outside [0, 1].

    Warns:
      UserWarning: beta > 0 with M < N, where R_samp is rank deficient and never helped MVDR.
    """
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"beta: expected a number in [0, 1], got {beta!r}")
    num_elements = predicted.shape[-1]
    if beta > 0 and num_antennas < num_elements:
        warnings.warn(
            f"beta = {beta} adds R_samp with M = {num_antennas} < N = {num_elements}, where it is rank deficient",
            stacklevel=2,
        )
    return (1.0 - beta) * _hermitian_unit_trace(predicted) + beta * _hermitian_unit_trace(sampled)
