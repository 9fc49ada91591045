"""From the refiner's heat map to sources, and from these to atoms that the likelihood may refine."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.likelihood import Atoms
from models.covariance_estimator.off_grid_refinement import grid_peaks
from models.spectrum.detection import Peaks
from models.spectrum.refiner import HeatMap

_APART_CELLS = 1.5  # a proposal nearer to an atom, in cells of the heat map, is that atom
_FIRST_POWER = 0.05  # of a proposal before the likelihood sets it, share of the received power


class Proposals(NamedTuple):
    """Sources the heat map shows, most present first: points [B, T, 3] float32 (azimuth, elevation, inverse range),
    presence [B, T] float32, zero where there is no further one."""

    points: tf.Tensor
    presence: tf.Tensor

    def above(self, level: tf.Tensor) -> "Proposals":
        """Those at least so present."""
        return self._replace(presence=tf.where(self.presence >= level, self.presence, 0.0))


def proposals(heat_map: HeatMap, dictionary: PolarDictionary, count: int) -> Proposals:
    """The highest local maxima of the heat map, each moved by its cell's offset.

    Args:
      heat_map: on the dictionary's grid.
      dictionary: the grid, and the field of view points stay in.
      count: T.
    """
    presence = tf.reshape(tf.sigmoid(heat_map.logits), [-1, dictionary.config.size])
    indices, values = grid_peaks(presence, dictionary, count)
    offset = tf.reshape(heat_map.offset, [-1, dictionary.config.size, 3])
    place = tf.gather(dictionary.places(), indices) + tf.gather(offset, indices, batch_dims=1) * dictionary.cell_size()
    view = dictionary.field_of_view
    low, high = np.transpose([np.sin(view.azimuth), np.sin(view.elevation), view.inverse_range]).astype(np.float32)
    place = tf.clip_by_value(place, low, high)
    points = tf.concat([tf.asin(place[..., :2]), place[..., 2:]], axis=-1)
    return Proposals(points, tf.where(tf.math.is_finite(values), values, 0.0))


def _near(points: tf.Tensor, others: tf.Tensor, valid: tf.Tensor, dictionary: PolarDictionary) -> tf.Tensor:
    """Whether points [B, T, 3] are next to one of the others [B, S, 3] that are valid [B, S]: [B, T] bool."""
    distance = dictionary.in_cells(points)[:, :, None] - dictionary.in_cells(others)[:, None]
    close = tf.reduce_all(tf.abs(distance) < _APART_CELLS, axis=-1)
    return tf.reduce_any(close & valid[:, None], axis=-1)


def rate_peaks(peaks: Peaks, heat_map: HeatMap, shown: Proposals, dictionary: PolarDictionary) -> Proposals:
    """Peaks of a spectrum by the presence in their cells, and what the heat map shows where there is no peak.

    Args:
      peaks: [B, S].
      heat_map: on the dictionary's grid.
      shown: its own [B, T].
      dictionary: the grid.

    Returns:
      The T most present of both.
    """
    cell, _ = dictionary.locate(peaks.points)
    presence = tf.reshape(tf.sigmoid(heat_map.logits), [-1, dictionary.config.size])
    rating = tf.where(peaks.valid, tf.gather(presence, cell, batch_dims=1), 0.0)
    new = tf.where(_near(shown.points, peaks.points, peaks.valid, dictionary), 0.0, shown.presence)
    points = tf.concat([peaks.points, shown.points], axis=1)
    best, order = tf.math.top_k(tf.concat([rating, new], axis=-1), shown.presence.shape[-1])
    return Proposals(tf.gather(points, order, batch_dims=1), best)


def join_proposals(atoms: Atoms, shown: Proposals, dictionary: PolarDictionary) -> Atoms:
    """Proposals that no atom stands for take the slots that atoms leave free.

    Args:
      atoms: [B, A], those of the spectrum's peaks.
      shown: [B, T], presence zero where there is none.
      dictionary: the heat map's grid.

    Returns:
      The atoms, A as before; the same where nothing is new.
    """
    new = (shown.presence > 0.0) & ~_near(shown.points, atoms.parameters[..., :3], atoms.active, dictionary)
    log_power = tf.fill([*tf.unstack(tf.shape(new)), 1], math.log(_FIRST_POWER))
    parameters = tf.where(new[..., None], tf.concat([shown.points, log_power], axis=-1), 0.0)
    rank = tf.concat([tf.where(atoms.active, 2.0, 0.0), tf.where(new, shown.presence, -1.0)], axis=-1)
    order = tf.math.top_k(rank, atoms.active.shape[-1]).indices
    parameters = tf.gather(tf.concat([atoms.parameters, parameters], axis=1), order, batch_dims=1)
    active = tf.gather(tf.concat([atoms.active, new], axis=1), order, batch_dims=1)
    return Atoms(parameters, active, atoms.noise_power)
