"""Back-projection: received power of a beam focused on every grid point, and its peaks.

    P(g) = sum_l |a_g^H Phi_l^H G y_l|^2 / sum_l |G^(1/2) Phi_l a_g|^2

G = I gives the matched filter (classical beamforming). G = (H H^H)^-1 gives the pseudo-inverse, since
Phi_l^+ = Phi_l^H G for codes of unit modulus.
"""

import dataclasses
from typing import Literal

import numpy as np
import scipy.linalg

from models.baselines.grid import squared
from models.baselines.measurement import Measurement
from models.baselines.peaks import below_db, grid_peaks
from models.baselines.report import Estimator, GridSearchConfig, SceneReport
from models.checked import Depth, checked


@checked(frozen=True)
class BackProjectionConfig(GridSearchConfig):
    """Settings of spectrum and peaks."""

    projection: Literal["matched_filter", "pseudo_inverse"] = "pseudo_inverse"
    """Projection of the snapshots: matched filter, or the minimum-power field at the surface that explains them."""
    depth_db: Depth = 3.0
    """Depth below the strongest peak down to which peaks are reported, dB."""


def whiten_antennas(measurement: Measurement) -> Measurement:
    """G^(1/2) y_l and G^(1/2) Phi_l with G = (mean_l Phi_l Phi_l^H)^-1. The noise is not white afterwards."""
    operator = measurement.operator
    chol = np.linalg.cholesky(np.mean(operator @ operator.conj().mT, axis=0))
    snapshots = scipy.linalg.solve_triangular(chol, measurement.snapshots.T, lower=True).T
    return dataclasses.replace(measurement, snapshots=snapshots, operator=np.linalg.solve(chol, operator))


@dataclasses.dataclass(eq=False)
class BackProjection(Estimator):
    """Locates sources as the peaks of the back-projected power.

    The score is the height relative to the strongest peak.
    """

    config: BackProjectionConfig = BackProjectionConfig()

    def spectrum(self, measurement: Measurement) -> np.ndarray:
        """P at every grid point, [azimuth, elevation, range] float64."""
        if self.config.projection == "pseudo_inverse":
            measurement = whiten_antennas(measurement)
        projected = squared(self.grid.correlation(measurement, measurement.snapshots[..., None])).sum(axis=(0, 1))
        return (projected / self.grid.energy(measurement).sum(axis=0)).reshape(self.grid.shape)

    def report(self, measurement: Measurement) -> SceneReport:
        spectrum = self.spectrum(measurement)
        peaks = grid_peaks(spectrum, below_db(spectrum.max(), self.config.depth_db))
        return SceneReport(self.grid.points[peaks], spectrum.ravel()[peaks] / spectrum.max())


back_projection_localizer = BackProjection.for_batches
