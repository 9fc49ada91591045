"""Peaks of a spectrum on a grid."""

import numpy as np
import scipy.ndimage


def grid_peaks(spectrum: np.ndarray, least: float, most: int | None = None) -> np.ndarray:
    """Local maxima over all adjacent grid points (26, or 8 over angles only), highest first.

    The spectrum is [azimuth, elevation, range] or [azimuth, elevation]. Returns the `most` highest ones (None: all) of
    height `least` or more, [P] int64, as indices into the flattened spectrum.
    """
    is_peak = spectrum == scipy.ndimage.maximum_filter(spectrum, size=3, mode="nearest")
    peaks = np.flatnonzero(is_peak & (spectrum >= least))
    return peaks[np.argsort(-spectrum.ravel()[peaks], kind="stable")][:most]


def below_db(height: float, depth_db: float) -> float:
    """The power `depth_db` below `height`."""
    return float(height) * 10.0 ** (-depth_db / 10.0)
