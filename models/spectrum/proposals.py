"""Converts the heat map of the refiner to sources, and these to atoms for the likelihood refinement."""

import math
from typing import NamedTuple

import tensorflow as tf

from models.covariance_estimator.atoms import Atoms
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.grid_peaks import grid_peaks
from models.spectrum.detection import Peaks
from models.spectrum.refiner import HeatMap

_APART_CELLS = 1.5  # a proposal closer to an atom is this atom, cells of the heat map
_FIRST_POWER = 0.05  # initial power of a proposal, relative to the received power


class Proposals(NamedTuple):
    """Sources in the heat map, in order of falling presence.

    points: [B, T, 3] float32: azimuth, elevation (radians), inverse range (1/m).
    presence: probability of a source, [B, T] float32; zero in unused entries.
    """

    points: tf.Tensor
    presence: tf.Tensor

    def above(self, level: tf.Tensor) -> "Proposals":
        """Sets the presence of proposals below the level to zero."""
        return self._replace(presence=tf.where(self.presence >= level, self.presence, 0.0))


def proposals(heat_map: HeatMap, dictionary: PolarDictionary, count: int) -> Proposals:
    """The `count` highest local maxima of a heat map on the dictionary's grid, plus the offsets of their cells.

    The points are inside the field of view.
    """
    presence = tf.reshape(tf.sigmoid(heat_map.logits), [-1, dictionary.config.size])
    indices, values = grid_peaks(presence, dictionary, count)
    offset = tf.reshape(heat_map.offset, [-1, dictionary.config.size, 3])
    place = tf.gather(dictionary.places(), indices) + tf.gather(offset, indices, batch_dims=1) * dictionary.cell_size()
    place = tf.clip_by_value(place, *dictionary.edges())
    points = tf.concat([tf.asin(place[..., :2]), place[..., 2:]], axis=-1)
    return Proposals(points, tf.where(tf.math.is_finite(values), values, 0.0))


def _near(points: tf.Tensor, others: tf.Tensor, valid: tf.Tensor, dictionary: PolarDictionary) -> tf.Tensor:
    """True if a point [B, T, 3] is close to a valid one [B, S] of the others [B, S, 3]: [B, T] bool."""
    distance = dictionary.in_cells(points)[:, :, None] - dictionary.in_cells(others)[:, None]
    close = tf.reduce_all(tf.abs(distance) < _APART_CELLS, axis=-1)
    return tf.reduce_any(close & valid[:, None], axis=-1)


def rate_peaks(peaks: Peaks, heat_map: HeatMap, shown: Proposals, dictionary: PolarDictionary) -> Proposals:
    """Rates the peaks [B, S] by the presence in their cells, and adds proposals [B, T] that are not near a peak.

    Returns the T proposals with the highest presence.
    """
    cell, _ = dictionary.locate(peaks.points)
    presence = tf.reshape(tf.sigmoid(heat_map.logits), [-1, dictionary.config.size])
    rating = tf.where(peaks.valid, tf.gather(presence, cell, batch_dims=1), 0.0)
    new = tf.where(_near(shown.points, peaks.points, peaks.valid, dictionary), 0.0, shown.presence)
    points = tf.concat([peaks.points, shown.points], axis=1)
    best, order = tf.math.top_k(tf.concat([rating, new], axis=-1), shown.presence.shape[-1])
    return Proposals(tf.gather(points, order, batch_dims=1), best)


def join_proposals(atoms: Atoms, shown: Proposals, dictionary: PolarDictionary) -> Atoms:
    """Adds proposals that are not near an atom to the free slots. The dictionary is the grid of the heat map."""
    new = (shown.presence > 0.0) & ~_near(shown.points, atoms.parameters[..., :3], atoms.active, dictionary)
    log_power = tf.fill([*tf.unstack(tf.shape(new)), 1], math.log(_FIRST_POWER))
    parameters = tf.where(new[..., None], tf.concat([shown.points, log_power], axis=-1), 0.0)
    rank = tf.concat([tf.where(atoms.active, 2.0, 0.0), tf.where(new, shown.presence, -1.0)], axis=-1)
    order = tf.math.top_k(rank, atoms.active.shape[-1]).indices
    parameters = tf.gather(tf.concat([atoms.parameters, parameters], axis=1), order, batch_dims=1)
    active = tf.gather(tf.concat([atoms.active, new], axis=1), order, batch_dims=1)
    return Atoms(parameters, active, atoms.noise_power)
