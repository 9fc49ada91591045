"""Coordinates of the true sources on the polar grid, and the heat map that the refiner is trained to output."""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from models.covariance_estimator.dictionary import PolarDictionary


class SourceCoordinates(NamedTuple):
    """The true sources in the coordinates of the grid."""

    coordinates: tf.Tensor
    """sin(azimuth), sin(elevation), inverse range (1/m), [B, K_max, 3] float32."""
    used: tf.Tensor
    """False in the slots without a source, [B, K_max] bool."""


def source_coordinates(truth: Mapping[str, tf.Tensor]) -> SourceCoordinates:
    """From azimuth, elevation (radians), range_m, float32 [B, K_max], and num_sources, int [B]."""
    used = tf.sequence_mask(truth["num_sources"], truth["azimuth"].shape[-1])
    inverse_range = 1.0 / tf.where(used, truth["range_m"], 1.0)
    return SourceCoordinates(tf.stack([tf.sin(truth["azimuth"]), tf.sin(truth["elevation"]), inverse_range], -1), used)


def offsets_in_cells(coordinates: tf.Tensor, dictionary: PolarDictionary) -> tf.Tensor:
    """Coordinates minus those of every grid point, in cells: [B, K, 3] -> [B, K, G, 3]."""
    return (coordinates[:, :, None] - dictionary.places()) / dictionary.cell_size()


class RefinerTarget(NamedTuple):
    """What the refiner is trained to output."""

    presence: tf.Tensor
    """1 in the cell of each source, falling off around it, [B, G] float32."""
    offset: tf.Tensor
    """Of the nearest source from the centre of the cell, in cells, [B, G, 3] float32."""


_PRESENCE_STD_CELLS = 0.7  # standard deviation of the presence around a source


def refiner_target(truth: Mapping[str, tf.Tensor], dictionary: PolarDictionary) -> RefinerTarget:
    """The heat map and the offsets of B scenes; `truth` is that of `source_coordinates`."""
    coordinates, used = source_coordinates(truth)
    offsets = offsets_in_cells(coordinates, dictionary)
    distance2 = tf.where(used[..., None], tf.reduce_sum(offsets**2, axis=-1), 1e6)
    nearest = distance2 <= tf.reduce_min(distance2, axis=-1, keepdims=True)
    height = tf.where(nearest & used[..., None], 1.0, tf.exp(-0.5 * distance2 / _PRESENCE_STD_CELLS**2))
    which = tf.argmin(distance2, axis=1)
    offset = tf.gather(tf.transpose(offsets, [0, 2, 1, 3]), which, batch_dims=2)
    return RefinerTarget(tf.reduce_max(height, axis=1), offset)
