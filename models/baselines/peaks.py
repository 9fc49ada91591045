"""Peaks of a spectrum on a grid."""

import numpy as np
import scipy.ndimage


def grid_peaks(spectrum: np.ndarray, least: float, most: int | None = None) -> np.ndarray:
    """Grid points that no neighbour (of 26, of 8 over angles alone) exceeds, by falling height.

    Args:
      spectrum: [azimuth, elevation, range] or [azimuth, elevation] float64.
      least: height of the lowest peak that counts.
      most: how many at most, the highest; None for all.

    Returns:
      [P] int64, indices into the flattened spectrum.
    """
    is_peak = spectrum == scipy.ndimage.maximum_filter(spectrum, size=3, mode="nearest")
    peaks = np.flatnonzero(is_peak & (spectrum >= least))
    return peaks[np.argsort(-spectrum.ravel()[peaks], kind="stable")][:most]


def below_db(height: float, depth_db: float) -> float:
    """The power that lies depth_db below another."""
    return float(height) * 10.0 ** (-depth_db / 10.0)
