"""Sparse Bayesian learning (SBL) on the polar grid, with the measurement operators of all snapshots.

Estimates powers gamma_g of independent Gaussian sources at all grid points, with
S_l = Phi_l D diag(gamma) D^H Phi_l^H + sigma^2 I, by the fixed-point iteration

    gamma_g <- gamma_g v_g / q_g,    v_g = (1/L) sum_l |a_g^H Phi_l^H S_l^-1 y_l|^2,
                                     q_g = (1/L) sum_l a_g^H Phi_l^H S_l^-1 Phi_l a_g.

Tipping, "Sparse Bayesian learning and the relevance vector machine", 2001. Several snapshots: Wipf and Rao, "An
empirical Bayesian strategy for solving the simultaneous sparse approximation problem", 2007, which gives this fast
update. Expectation maximisation has the same fixed points but needs many times the steps. One dictionary per snapshot:
Nannuru et al., "Sparse Bayesian learning with multiple dictionaries", 2019.
"""

import dataclasses

import numpy as np
import scipy.ndimage

from models.baselines.grid import squared
from models.baselines.measurement import Measurement
from models.baselines.peaks import grid_peaks
from models.baselines.report import Estimator, GridSearchConfig, SceneReport
from models.checked import AtLeast1, Positive, checked


@checked(frozen=True)
class SBLConfig(GridSearchConfig):
    """Settings of iterations and peaks."""

    iterations: AtLeast1 = 12
    """Number of fixed-point iterations."""
    prune: Positive = 1e-3
    """Grid points with gamma q below this are removed permanently."""
    threshold: Positive = 0.3
    """Smallest gamma q of a source, summed over the peak's cell and its 26 neighbours. For a single source it is about
    SNR / (1 + SNR) with its SNR per snapshot at the base station."""
    num_sources: AtLeast1 | None = None
    """K, if known: reports the K highest peaks."""


@dataclasses.dataclass(eq=False)
class SBL(Estimator):
    """Locates sources as the peaks of the powers. The score is gamma q summed over a peak and its neighbours."""

    config: SBLConfig = SBLConfig()

    def slopes(self, gamma: np.ndarray, measurement: Measurement, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """v and q [P] float64 of the grid points `points` [P], which have powers gamma [P]; all others are zero."""
        vectors, operator = self.grid.vectors[:, points], measurement.operator
        covariance = (vectors * gamma) @ vectors.conj().T
        received = operator @ covariance @ operator.conj().mT
        received += measurement.noise_power * np.eye(received.shape[-1])
        solved = np.linalg.solve(received, np.concatenate([measurement.snapshots[..., None], operator], axis=-1))
        fields = measurement.back_project(solved[..., :1])[..., 0]
        v = squared(fields @ vectors.conj()).mean(axis=0)
        size = operator.shape[-1]
        precision = operator.reshape(-1, size).conj().T @ solved[..., 1:].reshape(-1, size) / len(operator)
        q = np.sum(vectors.conj() * (precision @ vectors), axis=0).real
        return v, q

    def strengths(self, measurement: Measurement) -> np.ndarray:
        """gamma q at every grid point, [azimuth, elevation, range] float64; zero if pruned."""
        points = np.arange(self.grid.vectors.shape[1])
        gamma = np.full(points.size, (1.0 - measurement.noise_power) / points.size)
        strength = np.zeros(points.size)
        for _ in range(self.config.iterations):
            v, q = self.slopes(gamma, measurement, points)
            gamma = gamma * v / q
            strength = gamma * q
            kept = strength >= min(self.config.prune, strength.max())
            points, gamma, strength = points[kept], gamma[kept], strength[kept]
        everywhere = np.zeros(self.grid.vectors.shape[1])
        everywhere[points] = strength
        return everywhere.reshape(self.grid.shape)

    def report(self, measurement: Measurement) -> SceneReport:
        strength = self.strengths(measurement)
        known = self.config.num_sources
        summed = scipy.ndimage.convolve(strength, np.ones((3, 3, 3)), mode="constant").ravel()
        peaks = grid_peaks(strength, np.finfo(float).tiny)
        if known is None:
            peaks = peaks[summed[peaks] >= self.config.threshold]
        peaks = peaks[:known]
        return SceneReport(self.grid.points[peaks], summed[peaks])


sbl_localizer = SBL.for_batches
