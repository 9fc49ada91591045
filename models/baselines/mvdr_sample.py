"""MVDR on the sample covariance of the back-projected snapshots, without a model of the sources.

    P(g) = 1 / (a_g^H R^-1 a_g),    R = (1 - c) R_samp + c (tr R_samp / N) I

Capon, "High-resolution frequency-wavenumber spectrum analysis", 1969. Diagonal loading: Carlson, "Covariance matrix
estimation errors and diagonal loading in adaptive arrays", 1988. R_samp is computed by `surface_covariance`.
"""

import numpy as np
import scipy.linalg

from models.baselines.grid import SearchGrid, squared
from models.baselines.measurement import Measurement, measure
from models.baselines.peaks import below_db, grid_peaks
from models.baselines.report import BatchLocalizer, SceneReport, batch_localizer
from models.baselines.surface_covariance import surface_covariance
from models.checked import AtLeast1, Depth, InsideUnit, checked
from models.covariance_estimator.config import GridConfig
from models.physics.geometry import Scenario


@checked(frozen=True)
class SampleMVDRConfig:
    """Settings of loading and peaks.

    Raises:
      ValueError: a field is out of its range.
    """

    loading: InsideUnit = 0.1
    """c, share of the identity in R. R_samp alone is singular if N > L."""
    grid: GridConfig | None = None
    """Grid of the spectrum and of the reported positions; default that of the installation."""
    depth_db: Depth = 3.0
    """Depth below the strongest peak down to which peaks are reported, dB."""
    num_sources: AtLeast1 | None = None
    """K, if known: reports the K highest peaks and ignores `depth_db`."""


class SampleMVDR:
    """Locates sources as the peaks of the MVDR spectrum of R_samp.

    Args:
      scenario: the installation.
      config: loading and peaks.
    """

    def __init__(self, scenario: Scenario, config: SampleMVDRConfig = SampleMVDRConfig()) -> None:
        self.config = config
        self.grid = SearchGrid(scenario, config.grid)

    def spectrum(self, measurement: Measurement) -> np.ndarray:
        """P of unit-norm steering vectors, [azimuth, elevation, range] float64."""
        sample, vectors = surface_covariance(measurement), self.grid.vectors
        size, loading = len(sample), self.config.loading
        loaded = (1.0 - loading) * sample + loading * np.trace(sample).real / size * np.eye(size)
        white = scipy.linalg.solve_triangular(np.linalg.cholesky(loaded), vectors, lower=True)
        return (squared(vectors).sum(axis=0) / squared(white).sum(axis=0)).reshape(self.grid.shape)

    def locate(self, snapshots: np.ndarray, ris_codes: np.ndarray, channel: np.ndarray, snr_db: float) -> SceneReport:
        """Locates the sources of one measurement. The score is the height relative to the strongest peak.

        Args:
          snapshots: [L, M] complex.
          ris_codes: [L, N] complex.
          channel: [M, N] complex.
          snr_db: dB.
        """
        spectrum = self.spectrum(measure(snapshots, ris_codes, channel, snr_db))
        known = self.config.num_sources
        least = 0.0 if known is not None else below_db(spectrum.max(), self.config.depth_db)
        peaks = grid_peaks(spectrum, least, known)
        return SceneReport(self.grid.points[peaks], spectrum.ravel()[peaks] / spectrum.max())


def mvdr_sample_localizer(scenario: Scenario, config: SampleMVDRConfig = SampleMVDRConfig()) -> BatchLocalizer:
    """`SampleMVDR` for batches. The score is the height relative to the strongest peak of the scene."""
    return batch_localizer(SampleMVDR(scenario, config).locate, scenario.max_sources)
