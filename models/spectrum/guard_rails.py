"""Guard rails: a volume (MVDR spectrum or heat map) of which a few isolated maxima can't be the sources is not used."""

import dataclasses

import tensorflow as tf

from models.covariance_estimator.continuous import is_grid_peak


@dataclasses.dataclass(frozen=True)
class GuardRails:
    """When a scene's volume is believed."""

    max_share: float = 0.05
    """Share of the cells that may stand above the level; more is saturated."""
    max_peaks: int = 10
    """Local maxima that may stand above the level; more is crowded."""

    def __post_init__(self) -> None:
        if not 0 < self.max_share < 1:
            raise ValueError(f"GuardRails.max_share: expected a share, got {self.max_share!r}")
        if self.max_peaks < 1:
            raise ValueError(f"GuardRails.max_peaks: expected at least 1, got {self.max_peaks!r}")

    def hold(self, volume: tf.Tensor, level: float | tf.Tensor) -> tf.Tensor:
        """Whether each scene's volume is finite, not flat (something is above the level), not saturated, not crowded.

        Args:
          volume: [B, azimuth, elevation, range] float32.
          level: what a source stands above.

        Returns:
          [B] bool.
        """
        axes = (1, 2, 3)
        finite = tf.reduce_all(tf.math.is_finite(volume), axis=axes)
        above = tf.where(tf.math.is_finite(volume), volume, level - 1.0) > level
        share = tf.reduce_mean(tf.cast(above, tf.float32), axis=axes)
        peaks = tf.reduce_sum(tf.cast(above & is_grid_peak(volume), tf.int32), axis=axes)
        return finite & tf.reduce_any(above, axis=axes) & (share <= self.max_share) & (peaks <= self.max_peaks)
