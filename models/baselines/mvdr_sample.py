"""MVDR on the sample covariance of the back-projected snapshots, without a model of the sources.

    P(g) = 1 / (a_g^H R^-1 a_g),    R = (1 - c) R_samp + c (tr R_samp / N) I

Capon, "High-resolution frequency-wavenumber spectrum analysis", 1969. Diagonal loading: Carlson, "Covariance matrix
estimation errors and diagonal loading in adaptive arrays", 1988. R_samp is computed by `surface_covariance`.
"""

import dataclasses

import numpy as np
import scipy.linalg

from models.baselines.grid import squared
from models.baselines.measurement import Measurement
from models.baselines.peaks import below_db, grid_peaks
from models.baselines.report import Estimator, GridSearchConfig, SceneReport
from models.baselines.surface_covariance import surface_covariance
from models.checked import AtLeast1, Depth, InsideUnit, checked


@checked(frozen=True)
class SampleMVDRConfig(GridSearchConfig):
    """Settings of loading and peaks."""

    loading: InsideUnit = 0.1
    """c, share of the identity in R. R_samp alone is singular if N > L."""
    depth_db: Depth = 3.0
    """Depth below the strongest peak down to which peaks are reported, dB."""
    num_sources: AtLeast1 | None = None
    """K, if known: reports the K highest peaks and ignores `depth_db`."""


@dataclasses.dataclass(eq=False)
class SampleMVDR(Estimator):
    """Locates sources as the peaks of the MVDR spectrum of R_samp.

    The score is the height relative to the strongest peak.
    """

    config: SampleMVDRConfig = SampleMVDRConfig()

    def spectrum(self, measurement: Measurement) -> np.ndarray:
        """P of unit-norm steering vectors, [azimuth, elevation, range] float64."""
        sample, vectors = surface_covariance(measurement), self.grid.vectors
        size, loading = len(sample), self.config.loading
        loaded = (1.0 - loading) * sample + loading * np.trace(sample).real / size * np.eye(size)
        white = scipy.linalg.solve_triangular(np.linalg.cholesky(loaded), vectors, lower=True)
        return (squared(vectors).sum(axis=0) / squared(white).sum(axis=0)).reshape(self.grid.shape)

    def report(self, measurement: Measurement) -> SceneReport:
        spectrum = self.spectrum(measurement)
        known = self.config.num_sources
        least = 0.0 if known is not None else below_db(spectrum.max(), self.config.depth_db)
        peaks = grid_peaks(spectrum, least, known)
        return SceneReport(self.grid.points[peaks], spectrum.ravel()[peaks] / spectrum.max())


mvdr_sample_localizer = SampleMVDR.for_batches
