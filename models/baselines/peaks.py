"""Peaks of a spectrum on a grid."""

import numpy as np
import scipy.ndimage


def grid_peaks(spectrum: np.ndarray, least: float, most: int | None = None) -> np.ndarray:
    """Local maxima over all adjacent grid points (26, or 8 over angles only), highest first.

    Args:
      spectrum: [azimuth, elevation, range] or [azimuth, elevation] float64.
      least: smallest height of a peak.
      most: largest number of peaks to return; None for all.

    Returns:
      [P] int64, indices into the flattened spectrum.
    """
    is_peak = spectrum == scipy.ndimage.maximum_filter(spectrum, size=3, mode="nearest")
    peaks = np.flatnonzero(is_peak & (spectrum >= least))
    return peaks[np.argsort(-spectrum.ravel()[peaks], kind="stable")][:most]


def below_db(height: float, depth_db: float) -> float:
    """The power `depth_db` below `height`."""
    return float(height) * 10.0 ** (-depth_db / 10.0)
