"""Guard rails: detect volumes (MVDR spectra or heat maps) whose maxima cannot be a few separate sources."""

import tensorflow as tf

from models.covariance_estimator.grid_peaks import is_grid_peak
from models.spectrum.config import GuardRails


def within_rails(rails: GuardRails, volume: tf.Tensor, level: float | tf.Tensor) -> tf.Tensor:
    """True if the volume of a scene is finite, not flat (a cell exceeds the level), not saturated and not crowded.

    [B, azimuth, elevation, range] float32 -> [B] bool. The level is the smallest value at a source.
    """
    axes = (1, 2, 3)
    finite = tf.reduce_all(tf.math.is_finite(volume), axis=axes)
    above = tf.where(tf.math.is_finite(volume), volume, level - 1.0) > level
    share = tf.reduce_mean(tf.cast(above, tf.float32), axis=axes)
    peaks = tf.reduce_sum(tf.cast(above & is_grid_peak(volume), tf.int32), axis=axes)
    return finite & tf.reduce_any(above, axis=axes) & (share <= rails.max_share) & (peaks <= rails.max_peaks)
