"""Sparse Bayesian learning on the polar grid, with the operators of all snapshots.

Powers gamma_g of independent Gaussian sources on all grid points, S_l = Phi_l D diag(gamma) D^H Phi_l^H + sigma^2 I,
by the fixed point of the evidence's gradient

    gamma_g <- gamma_g v_g / q_g,    v_g = (1/L) sum_l |a_g^H Phi_l^H S_l^-1 y_l|^2,
                                     q_g = (1/L) sum_l a_g^H Phi_l^H S_l^-1 Phi_l a_g.

Tipping, "Sparse Bayesian learning and the relevance vector machine", 2001; for several snapshots: Wipf and Rao, "An
empirical Bayesian strategy for solving the simultaneous sparse approximation problem", 2007, whose fast rule this is;
EM has the same fixed points and takes many times the steps. A dictionary for each snapshot: Nannuru et al., "Sparse
Bayesian learning with multiple dictionaries", 2019.
"""

import numpy as np
import scipy.ndimage

from models.baselines.grid import SearchGrid, squared
from models.baselines.measurement import Measurement, measure
from models.baselines.peaks import grid_peaks
from models.baselines.report import BatchLocalizer, SceneReport, batch_localizer
from models.checked import AtLeast1, Positive, checked
from models.covariance_estimator.config import GridConfig
from models.physics.geometry import Scenario


@checked(frozen=True)
class SBLConfig:
    """Iterations and peaks."""

    grid: GridConfig | None = None
    """Grid of the powers; sources are reported on it; left out, the installation's."""
    iterations: AtLeast1 = 12
    """Steps of the fixed point."""
    prune: Positive = 1e-3
    """Grid points whose gamma q falls below this are left out for good."""
    threshold: Positive = 0.3
    """gamma q, summed over the peak's cell and its 26 neighbours, above which a peak is a source; a lone atom's is
    about SNR / (1 + SNR) of what the base station receives of it in a snapshot."""
    num_sources: AtLeast1 | None = None
    """K where it is told: the K highest peaks."""


class SBL:
    """Sources as the peaks of the powers that sparse Bayesian learning leaves.

    Args:
      scenario: surface, field of view and most sources.
      config: iterations and peaks.
    """

    def __init__(self, scenario: Scenario, config: SBLConfig = SBLConfig()) -> None:
        self.config = config
        self.grid = SearchGrid(scenario, config.grid)

    def slopes(self, gamma: np.ndarray, measurement: Measurement, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """v and q of the grid points `points`, [P] float64 each, at powers gamma [P] of these alone."""
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
        """gamma q at every grid point, [azimuth, elevation, range] float64; zero where pruned."""
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

    def locate(self, snapshots: np.ndarray, ris_codes: np.ndarray, channel: np.ndarray, snr_db: float) -> SceneReport:
        """The peaks of one measurement; the score is their gamma q with their neighbours'.

        Args:
          snapshots: [L, M] complex. ris_codes: [L, N] complex. channel: [M, N] complex. snr_db: dB.
        """
        strength = self.strengths(measure(snapshots, ris_codes, channel, snr_db))
        told = self.config.num_sources
        summed = scipy.ndimage.convolve(strength, np.ones((3, 3, 3)), mode="constant").ravel()
        peaks = grid_peaks(strength, np.finfo(float).tiny)
        if told is None:
            peaks = peaks[summed[peaks] >= self.config.threshold]
        peaks = peaks[:told]
        return SceneReport(self.grid.points[peaks], summed[peaks])


def sbl_localizer(scenario: Scenario, config: SBLConfig = SBLConfig()) -> BatchLocalizer:
    """`SBL` as an estimator of batches; scores are shares of the received power, above the noise."""
    return batch_localizer(SBL(scenario, config).locate, scenario.max_sources)
