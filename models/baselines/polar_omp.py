"""Simultaneous orthogonal matching pursuit on the polar grid, with the operators of all snapshots.

Snapshots share the sources and not the dictionary: atom g is Phi_l a_g in snapshot l. With residuals r_l,

    g* = argmax_g T_g,    T_g = sum_l |(Phi_l a_g)^H r_l|^2 / |Phi_l a_g|^2,

then r_l is y_l without its projection on all atoms chosen so far. Of noise alone T_g / sigma^2 is the sum of L
exponential variables; the search ends where max_g T_g is no higher than noise would lift one of G atoms with the
probability `false_alarm`. Tropp, Gilbert and Strauss, "Algorithms for simultaneous sparse approximation. Part I", 2006;
a dictionary for each snapshot: Duarte et al., "Distributed compressed sensing of jointly sparse signals", 2005; the
polar grid: Cui and Dai, "Channel estimation for extremely large-scale MIMO: far-field or near-field?", 2022.
"""

import numpy as np
from scipy import stats

from models.baselines.grid import SearchGrid, squared
from models.baselines.measurement import Measurement, measure
from models.baselines.report import BatchLocalizer, SceneReport, batch_localizer
from models.checked import AtLeast1, InsideUnit, checked
from models.covariance_estimator.config import GridConfig
from models.physics.geometry import Scenario


@checked(frozen=True)
class PolarOMPConfig:
    """Grid and stopping."""

    grid: GridConfig | None = None
    """Grid of the atoms; sources are reported on it; left out, the installation's."""
    false_alarm: InsideUnit = 1e-3
    """Probability that noise alone adds an atom."""
    num_sources: AtLeast1 | None = None
    """K where it is told: K atoms, whatever they explain."""


class PolarOMP:
    """Sources as the atoms of simultaneous OMP.

    Args:
      scenario: surface, field of view and most sources.
      config: grid and stopping.
    """

    def __init__(self, scenario: Scenario, config: PolarOMPConfig = PolarOMPConfig()) -> None:
        self.config = config
        self.grid = SearchGrid(scenario, config.grid)
        self.most = config.num_sources or scenario.max_sources

    def explained(self, residuals: np.ndarray, measurement: Measurement, energy: np.ndarray) -> np.ndarray:
        """T_g, [G] float64, of residuals r_l [L, M], with `SearchGrid.energy` of the scene."""
        products = squared(self.grid.correlation(measurement, residuals[..., None])[:, 0])
        return np.sum(products / energy, axis=0)

    def pursue(self, measurement: Measurement) -> tuple[list[int], list[float]]:
        """Grid points in the order of their choice, and T_g / (L sigma^2) of each as it was chosen."""
        energy, residuals = self.grid.energy(measurement), measurement.snapshots
        num_snapshots = len(residuals)
        least = stats.gamma.isf(self.config.false_alarm / energy.shape[1], num_snapshots) * measurement.noise_power
        chosen: list[int] = []
        strength: list[float] = []
        while len(chosen) < self.most:
            explained = self.explained(residuals, measurement, energy)
            explained[chosen] = 0.0
            best = int(explained.argmax())
            if self.config.num_sources is None and explained[best] < least:
                break
            chosen.append(best)
            strength.append(float(explained[best]) / (num_snapshots * measurement.noise_power))
            basis = np.linalg.qr(measurement.respond(self.grid.vectors[:, chosen])).Q
            within = basis.conj().mT @ measurement.snapshots[..., None]
            residuals = measurement.snapshots - (basis @ within)[..., 0]
        return chosen, strength

    def locate(self, snapshots: np.ndarray, ris_codes: np.ndarray, channel: np.ndarray, snr_db: float) -> SceneReport:
        """The atoms of one measurement; the score is the power they explained over the noise's, as they were chosen.

        Args:
          snapshots: [L, M] complex. ris_codes: [L, N] complex. channel: [M, N] complex. snr_db: dB.
        """
        chosen, strength = self.pursue(measure(snapshots, ris_codes, channel, snr_db))
        return SceneReport(self.grid.points[chosen], np.array(strength))


def polar_omp_localizer(scenario: Scenario, config: PolarOMPConfig = PolarOMPConfig()) -> BatchLocalizer:
    """`PolarOMP` as an estimator of batches; scores are powers over that of the noise."""
    return batch_localizer(PolarOMP(scenario, config).locate, scenario.max_sources)
