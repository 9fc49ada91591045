"""Simultaneous orthogonal matching pursuit (OMP) on the polar grid, with the measurement operators of all snapshots.

All snapshots have the same sources but different dictionaries: atom g is Phi_l a_g in snapshot l. With residuals r_l,

    g* = argmax_g T_g,    T_g = sum_l |(Phi_l a_g)^H r_l|^2 / |Phi_l a_g|^2.

Then r_l is y_l minus its projection on all atoms chosen so far. For noise alone, T_g / sigma^2 is a sum of L
exponential variables. The search stops when max_g T_g is below the value that noise exceeds at any of G atoms with
probability `false_alarm`.

Tropp, Gilbert and Strauss, "Algorithms for simultaneous sparse approximation. Part I", 2006. One dictionary per
snapshot: Duarte et al., "Distributed compressed sensing of jointly sparse signals", 2005. Polar grid: Cui and Dai,
"Channel estimation for extremely large-scale MIMO: far-field or near-field?", 2022.
"""

import dataclasses

import numpy as np
from scipy import stats

from models.baselines.grid import squared
from models.baselines.measurement import Measurement
from models.baselines.report import Estimator, GridSearchConfig, SceneReport
from models.checked import AtLeast1, InsideUnit, checked


@checked(frozen=True)
class PolarOMPConfig(GridSearchConfig):
    """Settings of grid and stopping."""

    false_alarm: InsideUnit = 1e-3
    """Probability that noise alone adds an atom."""
    num_sources: AtLeast1 | None = None
    """K, if known: selects K atoms without a stopping test."""


@dataclasses.dataclass(eq=False)
class PolarOMP(Estimator):
    """Locates sources as the atoms of simultaneous OMP. The score is T_g / (L sigma^2) of an atom at its selection."""

    config: PolarOMPConfig = PolarOMPConfig()

    def explained(self, residuals: np.ndarray, measurement: Measurement, energy: np.ndarray) -> np.ndarray:
        """T_g, [G] float64, from residuals r_l [L, M] and the scene's `SearchGrid.energy` [L, G]."""
        products = squared(self.grid.correlation(measurement, residuals[..., None])[:, 0])
        return np.sum(products / energy, axis=0)

    def pursue(self, measurement: Measurement) -> tuple[list[int], list[float]]:
        """Selected grid points in order, and T_g / (L sigma^2) of each at its selection."""
        energy, residuals = self.grid.energy(measurement), measurement.snapshots
        num_snapshots = len(residuals)
        least = stats.gamma.isf(self.config.false_alarm / energy.shape[1], num_snapshots) * measurement.noise_power
        chosen: list[int] = []
        strength: list[float] = []
        while len(chosen) < (self.config.num_sources or self.scenario.max_sources):
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

    def report(self, measurement: Measurement) -> SceneReport:
        chosen, strength = self.pursue(measurement)
        return SceneReport(self.grid.points[chosen], np.array(strength))


polar_omp_localizer = PolarOMP.for_batches
