"""Slow reference of the likelihood of sources with several paths, in complex128, one scene at a time."""

from collections.abc import Sequence

import numpy as np

from models.physics.geometry import RISArray
from tests.references.steering import steering_vector


def covariances(
    sources: np.ndarray, paths: np.ndarray, owners: Sequence[int], noise_power: float, operator, array: RISArray
) -> np.ndarray:
    """S_l = sigma^2 I + sum_k s_k s_k^H, [L, M, M].

    Args:
      sources: azimuth, elevation, 1/range and log power of the direct paths, [K, 4].
      paths: the same of the reflected paths, and their phases, [P, 5].
      owners: index of the source of each path.
      operator: [L, M, N].
    """
    total = noise_power * np.eye(operator.shape[1]) * np.ones((operator.shape[0], 1, 1), complex)
    for number, source in enumerate(sources):
        column = 0
        parts = [(*source, 0.0), *(path for path, owner in zip(paths, owners, strict=True) if owner == number)]
        for azimuth, elevation, inverse_range, log_power, phase in parts:
            vector = steering_vector(azimuth, elevation, 1.0 / inverse_range, array)
            column = column + np.exp(0.5 * log_power + 1j * phase) * (operator @ vector)
        total += column[:, :, None] * column[:, None, :].conj()
    return total


def nll(sources, paths, owners, noise_power: float, operator, snapshots, array: RISArray) -> float:
    """sum_l log|S_l| + y_l^H S_l^-1 y_l."""
    total = 0.0
    for covariance, y in zip(covariances(sources, paths, owners, noise_power, operator, array), snapshots, strict=True):
        total += np.linalg.slogdet(covariance)[1] + (y.conj() @ np.linalg.solve(covariance, y)).real
    return total
