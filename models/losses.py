"""Losses of the backbone, between R_pred on the grid and R_true, and of the heat map.

None uses an eigendecomposition. Gap and margin losses are rejected: their gradients pass through eigenvalues and were
unstable (findings of 2026-01-28).
"""

import tensorflow as tf

from models.physics.covariance import LowRankCovariance, as_complex
from models.spectrum.mvdr import white_factor

_LOADING = 1e-2  # relative to the trace; leaves 40 dB of dynamic range


def _loaded(covariance: LowRankCovariance) -> LowRankCovariance:
    """The covariance at trace one, plus diagonal loading, complex128."""
    covariance = LowRankCovariance(tf.cast(covariance.factor, tf.complex128), tf.cast(covariance.floor, tf.float64))
    trace = covariance.trace()
    factor = covariance.factor / as_complex(tf.sqrt(trace))[:, None, None]
    return LowRankCovariance(factor, covariance.floor / trace + _LOADING / covariance.factor.shape[1])


def _log_det(covariance: LowRankCovariance) -> tf.Tensor:
    """log det(U U^H + eps I) = (N - A) log eps + log det(eps I + U^H U), [B]."""
    factor, floor = covariance
    gram = tf.matmul(factor, factor, adjoint_a=True)
    size = tf.cast(tf.shape(factor)[1] - tf.shape(factor)[2], floor.dtype)
    chol = tf.linalg.cholesky(gram + as_complex(floor)[:, None, None] * tf.eye(gram.shape[-1], dtype=gram.dtype))
    roots = tf.math.log(tf.math.real(tf.linalg.diag_part(chol)))
    return size * tf.math.log(floor) + 2.0 * tf.reduce_sum(roots, axis=-1)


def stein_loss(predicted: LowRankCovariance, true: LowRankCovariance) -> tf.Tensor:
    """tr(Rp^-1 Rt) - log det(Rp^-1 Rt) - N of the loaded covariances (James and Stein, 1961): [B] float32, >= 0.

    Rp and Rt may have any positive scale. Computed in complex128 by Woodbury's identity, which with 64 atoms costs a
    tenth of the dense form.
    """
    predicted, true = _loaded(predicted), _loaded(true)
    explained = white_factor(predicted)  # Rp^-1 = (I - F F^H) / eps
    size = tf.cast(tf.shape(true.factor)[1], tf.float64)
    inside = tf.matmul(explained, true.factor, adjoint_a=True)
    sources = tf.reduce_sum(tf.abs(true.factor) ** 2, axis=(-2, -1)) - tf.reduce_sum(tf.abs(inside) ** 2, axis=(-2, -1))
    white = true.floor * (size - tf.reduce_sum(tf.abs(explained) ** 2, axis=(-2, -1)))
    log_det = _log_det(true) - _log_det(predicted)
    return tf.cast((sources + white) / predicted.floor - log_det - size, tf.float32)


def subspace_alignment_loss(predicted: LowRankCovariance, true_steering: tf.Tensor) -> tf.Tensor:
    """Share of tr(U U^H) outside the span of the true steering vectors, by a Cholesky factorisation of A^H A.

    R_pred = U U^H + floor I, of which the floor is ignored; A is [B, N, K_max] complex64 with zero columns where
    unused. Returns [B] float32 in [0, 1].
    """
    gram = tf.matmul(true_steering, true_steering, adjoint_a=True)
    norm2 = tf.math.real(tf.linalg.diag_part(gram))
    loading = tf.where(norm2 > 0.0, 1e-4 * norm2, 1.0)
    chol = tf.linalg.cholesky(gram + tf.linalg.diag(tf.cast(loading, gram.dtype)))
    inside = tf.linalg.triangular_solve(chol, tf.matmul(true_steering, predicted.factor, adjoint_a=True))
    energy = tf.reduce_sum(tf.abs(predicted.factor) ** 2, axis=(-2, -1))
    return 1.0 - tf.reduce_sum(tf.abs(inside) ** 2, axis=(-2, -1)) / (energy + 1e-12)


def heat_map_loss(gamma: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of the normalised grid powers gamma against a target distribution of source presence.

    [B, G] float32 each, gamma positive -> [B] float32.
    """
    share = tf.sqrt(gamma + 1e-12)  # amplitudes, so that weak sources count too
    log_share = tf.math.log(share) - tf.math.log(tf.reduce_sum(share, axis=-1, keepdims=True))
    return -tf.reduce_sum(target * log_share, axis=-1)


def peak_contrast_loss(inverse_at_sources: tf.Tensor, used: tf.Tensor, inverse_on_grid: tf.Tensor) -> tf.Tensor:
    """Mean log MVDR spectrum on the grid minus its mean at the true sources, [B] float32; lower means sharper peaks.

    Takes a^H R^-1 a at the sources [B, K_max] and on the grid [B, G], float32, positive; `used` [B, K_max] bool.
    """
    weight = tf.cast(used, tf.float32)
    inverse_at_sources = tf.where(used, inverse_at_sources, 1.0)
    at_sources = tf.reduce_sum(weight * tf.math.log(inverse_at_sources), axis=-1) / tf.reduce_sum(weight, axis=-1)
    return at_sources - tf.reduce_mean(tf.math.log(inverse_on_grid), axis=-1)


_FOCUS, _NEAR_MISS = 2.0, 4.0  # alpha and beta of Zhou et al.


def focal_loss(logits: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Penalty-reduced focal loss of a heat map (Zhou et al., "Objects as points", arXiv 1904.07850, equation 1).

    Logits and targets of source presence [B, G] float32 -> [B] float32, per source. A target is exactly one in the
    cells of the sources and less around them.
    """
    source = tf.cast(target >= 1.0, tf.float32)
    presence = tf.sigmoid(logits)
    missed = source * (1.0 - presence) ** _FOCUS * tf.nn.softplus(-logits)
    false = (1.0 - source) * (1.0 - target) ** _NEAR_MISS * presence**_FOCUS * tf.nn.softplus(logits)
    return tf.reduce_sum(missed + false, axis=-1) / tf.maximum(tf.reduce_sum(source, axis=-1), 1.0)


def lorentzian(error: tf.Tensor) -> tf.Tensor:
    """log(1 + e^2 / 2): quadratic for errors below one, nearly flat above (Black and Anandan, 1996)."""
    return tf.math.log1p(0.5 * error**2)
