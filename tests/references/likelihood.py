"""Slow reference of the Gaussian likelihood of off-grid sources, in complex128, one scene at a time."""

import numpy as np

from models.physics.geometry import RISArray
from tests.references.steering import steering_vector


def covariances(parameters: np.ndarray, noise_power: float, operator: np.ndarray, array: RISArray) -> np.ndarray:
    """S_l, [L, M, M], from parameters [A, 4] (azimuth, elevation, 1/range, log power) and operator [L, M, N]."""
    total = noise_power * np.eye(operator.shape[1]) * np.ones((operator.shape[0], 1, 1), complex)
    for azimuth, elevation, inverse_range, log_power in parameters:
        response = operator @ steering_vector(azimuth, elevation, 1.0 / inverse_range, array)
        total += np.exp(log_power) * response[:, :, None] * response[:, None, :].conj()
    return total


def nll(parameters: np.ndarray, noise_power: float, operator, snapshots, array: RISArray) -> float:
    """sum_l log|S_l| + y_l^H S_l^-1 y_l."""
    total = 0.0
    for covariance, y in zip(covariances(parameters, noise_power, operator, array), snapshots, strict=True):
        total += np.linalg.slogdet(covariance)[1] + (y.conj() @ np.linalg.solve(covariance, y)).real
    return total


def derivatives(function, point: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences along every entry of point, stacked on the first axis."""
    found = []
    for index in np.ndindex(point.shape):
        move = np.zeros_like(point)
        move[index] = step
        found.append((function(point + move) - function(point - move)) / (2 * step))
    return np.array(found)


def fisher_information(slopes: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """sum_l tr(S^-1 dS_i S^-1 dS_j) of slopes [P, L, M, M]: [P, P]."""
    scaled = np.linalg.solve(covariance, slopes)
    return np.einsum("ilmn,jlnm->ij", scaled, scaled).real
