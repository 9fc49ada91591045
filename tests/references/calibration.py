"""Slow NumPy references of the calibration's statistics, with derivatives by finite differences of S_l."""

import numpy as np
import tensorflow as tf

from models.physics.geometry import RISArray
from models.physics.steering import steering_vectors

_STEP = 1e-5


class ReferenceScene:
    """One scene in double precision.

    snapshots: [L, M].
    ris_codes: [L, N].
    channel: [M, N].
    parameters: [K, 4].
    log_noise: log sigma^2.
    """

    def __init__(self, snapshots, ris_codes, channel, parameters, log_noise: float, array: RISArray) -> None:
        self.snapshots, self.ris_codes, self.channel = (np.asarray(x, complex) for x in (snapshots, ris_codes, channel))
        self.parameters, self.log_noise, self.array = np.asarray(parameters, float), log_noise, array

    def columns(self, parameters: np.ndarray) -> np.ndarray:
        """A P^(1/2), [N, K]."""
        angles = (tf.constant(parameters[:, index], tf.float64) for index in range(3))
        return (steering_vectors(*angles, self.array).numpy() * np.exp(0.5 * parameters[:, 3:])).T

    def responses(self, response: np.ndarray) -> np.ndarray:
        """B_l, [L, M, K]."""
        columns = self.columns(self.parameters)
        return np.stack([self.channel @ np.diag(code * response) @ columns for code in self.ris_codes])

    def covariances(self, response: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """S_l at g and theta, [L, M, M]. theta: the parameters, all azimuths first, then the log of the noise power."""
        columns = self.columns(theta[:-1].reshape(4, -1).T)
        signal = [self.channel @ np.diag(code * response) @ columns for code in self.ris_codes]
        return np.stack([b @ b.conj().T + np.exp(theta[-1]) * np.eye(len(self.channel)) for b in signal])

    @property
    def theta(self) -> np.ndarray:
        """theta of the scene."""
        return np.concatenate([self.parameters.T.ravel(), [self.log_noise]])

    def nll(self, response: np.ndarray, theta: np.ndarray | None = None) -> float:
        """Negative log-likelihood, without the constant."""
        total = 0.0
        for y, s in zip(
            self.snapshots, self.covariances(response, self.theta if theta is None else theta), strict=True
        ):
            total += np.linalg.slogdet(s)[1] + np.real(y.conj() @ np.linalg.solve(s, y))
        return float(total)

    def score_and_information(self, response: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score [D] and Fisher information [D, D] with respect to (Re g, Im g, theta), D = 2N + 4K + 1."""
        size, theta = response.size, self.theta

        def covariances(values: np.ndarray) -> np.ndarray:
            moved = response + values[:size] + 1j * values[size : 2 * size]
            return self.covariances(moved, theta + values[2 * size :])

        unit = _STEP * np.eye(2 * size + theta.size)
        slopes = np.stack([(covariances(row) - covariances(-row)) / (2 * _STEP) for row in unit])
        inverse = np.linalg.inv(covariances(0 * unit[0]))
        whitened = np.einsum("lab,plbc->plac", inverse, slopes)
        seen = np.einsum("lab,lb->la", inverse, self.snapshots)
        score = np.einsum("la,plab,lb->p", seen.conj(), slopes, seen) - np.einsum("plaa->p", whitened)
        information = np.einsum("plab,qlba->pq", whitened, whitened)
        return score.real, information.real

    def expectation(self, response: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """T [N, N] and b [N] of the expectation step, summed over snapshots."""
        columns, noise = self.columns(self.parameters), np.exp(self.log_noise)
        size, sources = columns.shape
        complete, right = np.zeros((size, size), complex), np.zeros(size, complex)
        gram = self.channel.conj().T @ self.channel
        for y, code, b in zip(self.snapshots, self.ris_codes, self.responses(response), strict=True):
            covariance = np.linalg.inv(b.conj().T @ b / noise + np.eye(sources))
            mean = covariance @ b.conj().T @ y / noise
            second = columns @ (np.outer(mean, mean.conj()) + covariance) @ columns.conj().T
            complete += gram * np.outer(code.conj(), code) * second.conj() / noise
            right += (code * (columns @ mean)).conj() * (self.channel.conj().T @ y) / noise
        return complete, right
