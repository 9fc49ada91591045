"""The SpectrumRefiner: from the MVDR spectrum to a heat map of source presence, and an off-grid offset in every cell.

A fully convolutional network (after Zhou et al., "Objects as points", arXiv 1904.07850, in three dimensions) over the
backbone's polar grid: it reads the spectrum of R_eff and the likelihood maps R_pred was begun from, which still show
what R_pred left out. Its weights fit any grid.
"""

import dataclasses
import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from models.covariance_estimator.backbone import NUM_FEATURES as GRID_FEATURES
from models.covariance_estimator.backbone import GridState, grid_features
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.layers import build_in_turn
from models.physics.observation import Observation
from models.spectrum.config import RefinerConfig
from models.spectrum.detection import Peaks

NUM_FEATURES = GRID_FEATURES + 8
_PRIOR_PRESENCE = 0.01  # of a cell before training: what keeps the first steps of a focal loss finite
_MIN_PRESENCE = 0.3  # before validation sets it
_REACH = 1.5  # cells an offset may lead away from its cell's centre
_PEAK, _PEAK_OFFSET = slice(2, 3), slice(4, 7)  # where `refiner_features` has whether there is a peak, and its offset


class HeatMap(NamedTuple):
    """logits: of presence, [B, azimuth, elevation, range]. offset: from each cell's centre, cells, [..., 3]."""

    logits: tf.Tensor
    offset: tf.Tensor


def cells_ratio(fine: tuple[int, ...], coarse: tuple[int, ...]) -> tuple[int, ...]:
    """Cells of a spectrum's grid in each cell of the heat map's, by axis.

    Raises:
      ValueError: they are not whole numbers.
    """
    if any(size % cells for size, cells in zip(fine, coarse, strict=True)):
        raise ValueError(f"spectrum_grid: expected a whole multiple of the backbone's grid {coarse}, got {fine}")
    return tuple(size // cells for size, cells in zip(fine, coarse, strict=True))


def _pooled(volume: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """[B, ...] on a finer grid -> maximum and mean over each cell of the grid of that shape, [B, *shape, 2]."""
    ratio = cells_ratio(tuple(volume.shape[1:]), shape)
    blocks = [size for pair in zip(shape, ratio, strict=True) for size in pair]
    volume = tf.reshape(volume, [-1, *blocks])
    inside = (2, 4, 6)
    return tf.stack([tf.reduce_max(volume, axis=inside), tf.reduce_mean(volume, axis=inside)], axis=-1)


def _drawn(peaks: Peaks, floor: tf.Tensor, dictionary: PolarDictionary) -> tf.Tensor:
    """Peaks on the grid, [B, G, 5] float32: in the cell of each, or of the highest of several, 1, its log contrast, and
    its offset from the centre in cells; 0 elsewhere."""
    cell, offset = dictionary.locate(peaks.points)
    earlier = np.tril(np.ones((cell.shape[1], cell.shape[1]), bool), k=-1)
    taken = tf.reduce_any((cell[:, :, None] == cell[:, None]) & peaks.valid[:, None] & earlier, axis=-1)
    shown = peaks.valid & ~taken
    contrast = 0.3 * tf.math.log(tf.maximum(peaks.height / floor[:, None], 1.0))
    values = tf.concat([tf.ones_like(contrast)[..., None], contrast[..., None], offset], axis=-1)
    where = tf.where(shown)
    scene_and_cell = tf.stack([where[:, 0], tf.cast(tf.gather_nd(cell, where), tf.int64)], axis=-1)
    return tf.scatter_nd(scene_and_cell, tf.gather_nd(values, where), [tf.shape(cell)[0], dictionary.config.size, 5])


def refiner_features(
    contrast: tf.Tensor,
    peaks: Peaks,
    floor: tf.Tensor,
    state: GridState,
    observation: Observation,
    dictionary: PolarDictionary,
) -> tf.Tensor:
    """What the refiner reads.

    Args:
      contrast: P of R_eff over its floor, [B, azimuth, elevation, range], on a grid that divides into the dictionary's
        cells.
      peaks: of the spectrum, off the grid.
      floor: of R_eff, [B]: the spectrum's value away from all sources.
      state: the backbone's last grid stage.
      observation: the scenes.
      dictionary: the backbone's grid.

    Returns:
      [B, *grid, NUM_FEATURES] float32 of order one: log contrast of the spectrum, its maximum and mean over each cell;
      its peaks, drawn into their cells; the backbone's maps, which alone pass gradients; inverse range.
    """
    shape = dictionary.config.shape
    inverse_range = tf.reshape(dictionary.inverse_range / tf.reduce_max(dictionary.inverse_range), [1, *shape, 1])
    maps = grid_features(state, observation, shape)
    inverse_range = tf.broadcast_to(inverse_range, tf.concat([tf.shape(maps)[:-1], [1]], 0))
    drawn = tf.reshape(_drawn(peaks, floor, dictionary), [-1, *shape, 5])
    read = tf.stop_gradient(tf.concat([0.3 * _pooled(tf.math.log(contrast), shape), drawn], axis=-1))
    return tf.concat([read, maps, inverse_range], axis=-1)


@keras.saving.register_keras_serializable("ris_mvdr")
class SpectrumRefiner(keras.Model):
    """A small 3-D CNN from `refiner_features` to a heat map; before training it shows no source anywhere.

    Args:
      config: its shape.

    Attributes:
      min_presence: a local maximum of the heat map at least this high is a source; a weight that validation sets, not
        gradients.

    Examples:
      >>> heat_map = SpectrumRefiner()(features)  # [B, azimuth, elevation, range, NUM_FEATURES]
      >>> heat_map.logits.shape, heat_map.offset.shape
    """

    def __init__(self, config: RefinerConfig = RefinerConfig(), **kwargs) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.hidden = [
            keras.layers.Conv3D(config.width, 3, padding="same", activation="gelu", name=f"hidden_{i}")
            for i in range(config.depth - 1)
        ]
        self.context = keras.layers.Dense(config.width, activation="gelu", name="context")
        prior = keras.initializers.Constant(math.log(_PRIOR_PRESENCE / (1.0 - _PRIOR_PRESENCE)))
        self.presence = keras.layers.Conv3D(
            1, 3, padding="same", kernel_initializer="zeros", bias_initializer=prior, name="presence"
        )
        self.offset = keras.layers.Conv3D(3, 3, padding="same", kernel_initializer="zeros", name="offset")
        shape = (None, None, None, None, NUM_FEATURES)
        build_in_turn([*self.hidden, self.presence], shape)
        self.offset.build((*shape[:-1], config.width))
        self.context.build((None, 2 * config.width))
        self.min_presence = self.add_weight(
            name="min_presence", shape=(), initializer=keras.initializers.Constant(_MIN_PRESENCE), trainable=False
        )
        self.built = True

    def call(self, features: tf.Tensor) -> HeatMap:
        """features [B, azimuth, elevation, range, NUM_FEATURES] float32 -> the heat map."""
        peak, peak_offset = features[..., _PEAK], features[..., _PEAK_OFFSET]
        features = self.hidden[0](features)
        everywhere = (1, 2, 3)
        summary = tf.concat([tf.reduce_max(features, axis=everywhere), tf.reduce_mean(features, axis=everywhere)], -1)
        features += self.context(summary)[:, None, None, None]
        for layer in self.hidden[1:]:
            features = layer(features)
        offset = _REACH * tf.tanh(self.offset(features))
        if self.config.keep_peaks:
            offset = tf.where(peak > 0.0, peak_offset, offset)
        return HeatMap(self.presence(features)[..., 0], offset)

    def get_config(self) -> dict:
        return {"config": dataclasses.asdict(self.config)}

    @classmethod
    def from_config(cls, config: dict) -> "SpectrumRefiner":
        return cls(RefinerConfig(**config["config"]))
