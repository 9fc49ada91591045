"""From the refiner's heat map to sources, and from these to atoms that the likelihood may refine."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.continuous import grid_peaks
from models.dictionary import PolarDictionary
from models.geometry import FieldOfView
from models.likelihood import Atoms
from models.refiner import HeatMap

_APART_CELLS = 1.5  # a proposal nearer to an atom, in cells of the heat map, is that atom
_FIRST_POWER = 0.05  # of a proposal before the likelihood sets it, share of the received power


class Proposals(NamedTuple):
    """Sources the heat map shows, most present first: points [B, T, 3] float32 (azimuth, elevation, inverse range),
    presence [B, T] float32, zero where there is no further one."""

    points: tf.Tensor
    presence: tf.Tensor


def proposals(heat_map: HeatMap, dictionary: PolarDictionary, view: FieldOfView, count: int) -> Proposals:
    """The highest local maxima of the heat map, each moved by its cell's offset.

    Args:
      heat_map: on the dictionary's grid.
      dictionary, view: the grid, and the region points stay in.
      count: T.
    """
    presence = tf.reshape(tf.sigmoid(heat_map.logits), [-1, dictionary.config.size])
    indices, values = grid_peaks(presence, dictionary, count)
    offset = tf.reshape(heat_map.offset, [-1, dictionary.config.size, 3])
    place = tf.gather(dictionary.places(), indices) + tf.gather(offset, indices, batch_dims=1) * dictionary.cell_size()
    low, high = np.transpose([np.sin(view.azimuth), np.sin(view.elevation), view.inverse_range]).astype(np.float32)
    place = tf.clip_by_value(place, low, high)
    points = tf.concat([tf.asin(place[..., :2]), place[..., 2:]], axis=-1)
    return Proposals(points, tf.where(tf.math.is_finite(values), values, 0.0))


def join_proposals(atoms: Atoms, shown: Proposals, dictionary: PolarDictionary) -> Atoms:
    """Proposals that no atom stands for take the slots that atoms leave free.

    Args:
      atoms: [B, A], those of the spectrum's peaks.
      shown: [B, T], presence zero where there is none.
      dictionary: the heat map's grid.

    Returns:
      The atoms, A as before; the same where nothing is new.
    """
    points = (shown.points, atoms.parameters[..., :3])
    places = [tf.concat([tf.sin(x[..., :2]), x[..., 2:]], axis=-1) / dictionary.cell_size() for x in points]
    distance = tf.reduce_max(tf.abs(places[0][:, :, None] - places[1][:, None]), axis=-1)
    known = tf.reduce_any((distance < _APART_CELLS) & atoms.active[:, None], axis=-1)
    new = (shown.presence > 0.0) & ~known
    log_power = tf.fill([*tf.unstack(tf.shape(new)), 1], math.log(_FIRST_POWER))
    parameters = tf.where(new[..., None], tf.concat([shown.points, log_power], axis=-1), 0.0)
    rank = tf.concat([tf.where(atoms.active, 2.0, 0.0), tf.where(new, shown.presence, -1.0)], axis=-1)
    order = tf.math.top_k(rank, atoms.active.shape[-1]).indices
    parameters = tf.gather(tf.concat([atoms.parameters, parameters], axis=1), order, batch_dims=1)
    active = tf.gather(tf.concat([atoms.active, new], axis=1), order, batch_dims=1)
    return Atoms(parameters, active, atoms.noise_power)
