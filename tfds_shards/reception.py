"""The received signal: the only implementation of the sum in docs/conventions.md, Signal."""

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
    """Returns y_l = H diag(c_l) sum_k s_kl x_k + n_l, with the noise scaled to the SNR of this realisation.

    Args:
      symbols: s, [L, K] complex; includes sqrt(p_k) unless `vectors` does.
      vectors: x, the field that a unit symbol of each source causes at the elements, [K, N] complex.
      coefficients, channel: c, [L, N] and H, [M, N] complex.
      snr_db: mean |y without noise|^2 / sigma^2, dB.
      noise: [L, M] complex, unit power.

    Returns:
      y, [L, M] complex64.
    """
    # einsum instead of BLAS: on busy cores the threads of BLAS wait for each other forty times longer than these
    # products take.
    arriving = np.einsum("lk,kn->ln", symbols, vectors)
    clean = np.einsum("ln,mn->lm", coefficients * arriving, channel)
    noise_power = np.mean(np.abs(clean) ** 2) / 10.0 ** (snr_db / 10.0)
    return (clean + math.sqrt(noise_power) * noise).astype(np.complex64)
