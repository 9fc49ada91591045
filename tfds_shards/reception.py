"""What the base station receives, the one definition of the sum in docs/conventions.md, Signal."""

import math

import numpy as np


def received(
    symbols: np.ndarray,
    vectors: np.ndarray,
    coefficients: np.ndarray,
    channel: np.ndarray,
    snr_db: float,
    noise: np.ndarray,
) -> np.ndarray:
    """y_l = H diag(c_l) sum_k s_kl x_k + n_l, with the noise scaled to the SNR of this realisation.

    Args:
      symbols: s, [L, K], sqrt(p_k) in them unless it is in the vectors.
      vectors: x, what a source brings to the elements, [K, N].
      coefficients: c, [L, N].
      channel: H, [M, N].
      snr_db: mean |y without noise|^2 / sigma^2, dB.
      noise: [L, M], of unit power.

    Returns:
      [L, M] complex64.
    """
    # einsum, not BLAS: on busy cores its threads wait for each other forty times longer than these products take.
    arriving = np.einsum("lk,kn->ln", symbols, vectors)
    clean = np.einsum("ln,mn->lm", coefficients * arriving, channel)
    noise_power = np.mean(np.abs(clean) ** 2) / 10.0 ** (snr_db / 10.0)
    return (clean + math.sqrt(noise_power) * noise).astype(np.complex64)
