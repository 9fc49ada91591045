"""The SpectrumRefiner: from the MVDR spectrum to a heat map of source presence and an off-grid offset in every cell.

A fully convolutional network on the backbone's polar grid, after Zhou et al., "Objects as points", arXiv 1904.07850, in
three dimensions. It reads the spectrum of R_eff, and the likelihood maps of the grid stages, which show sources that
R_pred missed. Its weights fit any grid.
"""

import dataclasses
import math
from typing import NamedTuple

import keras
import tensorflow as tf

from models.checked import stored
from models.covariance_estimator.backbone import NUM_FEATURES as GRID_FEATURES
from models.covariance_estimator.backbone import GridState, grid_features
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.layers import build_in_turn
from models.physics.observation import Observation
from models.spectrum.config import RefinerConfig
from models.spectrum.detection import Peaks

NUM_FEATURES = GRID_FEATURES + 8
_PRIOR_PRESENCE = 0.01  # presence in every cell before training; keeps the focal loss stable at first
_MIN_PRESENCE = 0.3  # until validation sets it
_REACH = 1.5  # largest offset from the centre of a cell, cells
_PEAK, _PEAK_OFFSET = slice(2, 3), slice(4, 7)  # channels of `refiner_features`


class HeatMap(NamedTuple):
    """Output of the refiner.

    logits: logits of source presence, [B, azimuth, elevation, range] float32.
    offset: offset of a source from the centre of its cell, cells, [B, azimuth, elevation, range, 3] float32.
    """

    logits: tf.Tensor
    offset: tf.Tensor


def cells_ratio(fine: tuple[int, ...], coarse: tuple[int, ...]) -> tuple[int, ...]:
    """Ratio of the number of cells of the spectrum's grid to that of the heat map's grid, per axis.

    Raises:
      ValueError: a ratio is not a whole number.
    """
    if any(size % cells for size, cells in zip(fine, coarse, strict=True)):
        raise ValueError(f"spectrum_grid: expected a whole multiple of the backbone's grid {coarse}, got {fine}")
    return tuple(size // cells for size, cells in zip(fine, coarse, strict=True))


def _pooled(volume: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """Maximum and mean over each cell of a coarser grid: [B, ...] on the finer grid -> [B, *shape, 2]."""
    ratio = cells_ratio(tuple(volume.shape[1:]), shape)
    blocks = [size for pair in zip(shape, ratio, strict=True) for size in pair]
    volume = tf.reshape(volume, [-1, *blocks])
    inside = (2, 4, 6)
    return tf.stack([tf.reduce_max(volume, axis=inside), tf.reduce_mean(volume, axis=inside)], axis=-1)


def _drawn(peaks: Peaks, floor: tf.Tensor, dictionary: PolarDictionary) -> tf.Tensor:
    """Writes peaks to their cells, [B, G, 5] float32: one, log contrast, and offset from the centre in cells.

    Of several peaks in a cell, the highest one counts. Cells without a peak are zero.
    """
    cell, offset = dictionary.locate(peaks.points)
    number = tf.range(tf.shape(cell)[1])
    earlier = number[:, None] > number
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
    """Features of the refiner, [B, *grid, NUM_FEATURES] float32.

    The maximum and the mean of the log contrast over each cell, the peaks in their cells, the maps of the backbone, and
    the inverse range. All are of order one. Only the maps of the backbone have gradients.

    Args:
      contrast: P of R_eff relative to its floor, [B, azimuth, elevation, range] float32. The grid is a multiple of the
        dictionary's grid.
      peaks: off-grid peaks of the spectrum.
      floor: floor of R_eff, the value of the spectrum away from all sources, [B] float32.
      state: the last grid stage of the backbone.
      observation: B scenes.
      dictionary: the grid of the backbone.
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
    """A small 3-D CNN from `refiner_features` to a heat map. Before training the heat map contains no source.

    Attributes:
      min_presence: smallest presence of a source. A weight that validation sets instead of gradients.

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
        """features [B, azimuth, elevation, range, NUM_FEATURES] float32 -> heat map."""
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
        return cls(stored(config["config"], RefinerConfig))
