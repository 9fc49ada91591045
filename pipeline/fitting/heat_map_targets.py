"""Where the true sources lie on a polar grid: what heat maps are trained on."""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from models.covariance_estimator.dictionary import PolarDictionary


class TruePlaces(NamedTuple):
    """places: sin(azimuth), sin(elevation), inverse range (1/m), [B, K_max, 3] float32. used: [B, K_max] bool."""

    places: tf.Tensor
    used: tf.Tensor


def true_places(truth: Mapping[str, tf.Tensor]) -> TruePlaces:
    """Sources in the coordinates in which the grid is uniform.

    Args:
      truth: azimuth, elevation (radians), range_m, float32 [B, K_max], and num_sources, int [B].
    """
    used = tf.sequence_mask(truth["num_sources"], truth["azimuth"].shape[-1])
    inverse_range = 1.0 / tf.where(used, truth["range_m"], 1.0)
    return TruePlaces(tf.stack([tf.sin(truth["azimuth"]), tf.sin(truth["elevation"]), inverse_range], -1), used)


def cells_away(places: tf.Tensor, dictionary: PolarDictionary) -> tf.Tensor:
    """Places minus grid points, in cells: [B, K, 3] -> [B, K, G, 3]."""
    return (places[:, :, None] - dictionary.places()) / dictionary.cell_size()


class RefinerTarget(NamedTuple):
    """presence: [B, G] float32, one in the cell of each source and falling off about it.
    offset: of the nearest source from the cell's centre, cells, [B, G, 3] float32."""

    presence: tf.Tensor
    offset: tf.Tensor


_SPREAD_CELLS = 0.7  # standard deviation of the presence about a source


def refiner_target(truth: Mapping[str, tf.Tensor], dictionary: PolarDictionary) -> RefinerTarget:
    """What the heat map and its offsets should be.

    Args:
      truth: as for `true_places`.
      dictionary: the heat map's grid.
    """
    places, used = true_places(truth)
    away = cells_away(places, dictionary)
    distance2 = tf.where(used[..., None], tf.reduce_sum(away**2, axis=-1), 1e6)
    nearest = distance2 <= tf.reduce_min(distance2, axis=-1, keepdims=True)
    height = tf.where(nearest & used[..., None], 1.0, tf.exp(-0.5 * distance2 / _SPREAD_CELLS**2))
    which = tf.argmin(distance2, axis=1)
    offset = tf.gather(tf.transpose(away, [0, 2, 1, 3]), which, batch_dims=2)
    return RefinerTarget(tf.reduce_max(height, axis=1), offset)
