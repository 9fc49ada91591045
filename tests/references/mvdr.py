"""Slow reference of the MVDR spectrum and its derivative, in complex128."""

import numpy as np


def spectrum(covariance: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """P = 1 / (a^H R^-1 a) of R [N, N] at vectors [G, N]: [G]."""
    inverse = np.linalg.inv(covariance)
    return 1 / np.einsum("gn,nm,gm->g", vectors.conj(), inverse, vectors).real


def spectrum_slope(covariance: np.ndarray, direction: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """dP = P^2 a^H R^-1 dR R^-1 a along a Hermitian direction dR [N, N]: [G]."""
    inverse = np.linalg.inv(covariance)
    change = np.einsum("gn,nm,gm->g", vectors.conj(), inverse @ direction @ inverse, vectors).real
    return spectrum(covariance, vectors) ** 2 * change
