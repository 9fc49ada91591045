"""The start network: selects which peaks of a grid stage are sources, and estimates their offsets and powers.

A message-passing network reads the highest peaks together. A message between two peaks depends on their distance and
power ratio, so that a source identifies its side lobes. The inputs are maps, and geometry in cell units, never the
channel, the codes or the installation. The last layer is initialised to zero: without training, the start is the
highest peaks.
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from models.covariance_estimator.atoms import Atoms
from models.covariance_estimator.config import StartConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.grid_peaks import grid_peaks
from models.covariance_estimator.layers import build_in_turn, in_turn
from models.covariance_estimator.spectral_maps import LikelihoodMaps

NUM_FEATURES, NUM_RELATIONS = 63, 7
_NEIGHBOURS = 27
_FAR_CELLS = 8.0
_LONGEST_OFFSET = 1.5  # cells
_LEAST_LOG_POWER = -13.8


class Candidates(NamedTuple):
    """The T highest peaks of gamma q in each scene, inputs of the start network.

    indices: grid points of the peaks, [B, T] int32.
    valid: [B, T] bool; false where a scene has fewer peaks.
    log_power: log of gamma summed over the 3 x 3 x 3 cells around the peak, [B, T] float32.
    features: [B, T, NUM_FEATURES] float32.
    relations: features of pairs of peaks, [B, T, T, NUM_RELATIONS] float32.
    """

    indices: tf.Tensor
    valid: tf.Tensor
    log_power: tf.Tensor
    features: tf.Tensor
    relations: tf.Tensor


class Start(NamedTuple):
    """Outputs of the start network.

    logits: logits of being a source, [B, T] float32.
    offsets: offsets from the grid point, cells, [B, T, 3] float32.
    log_power: corrections of the log power, [B, T] float32.
    """

    logits: tf.Tensor
    offsets: tf.Tensor
    log_power: tf.Tensor


def _neighbourhoods(values: tf.Tensor, cells: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """Values of the 3 x 3 x 3 cells around given cells, edges repeated: [B, G], [B, T, 3] int32 -> [B, T, 27]."""
    padded = tf.pad(tf.reshape(values, [-1, *shape]), [[0, 0], [1, 1], [1, 1], [1, 1]], mode="SYMMETRIC")
    rows, columns = shape[1] + 2, shape[2] + 2
    corner = tf.reduce_sum(cells * (rows * columns, columns, 1), axis=-1)
    about = np.add.outer(np.add.outer(np.arange(3) * rows, np.arange(3)) * columns, np.arange(3)).ravel()
    flat = tf.reshape(padded, [-1, (shape[0] + 2) * rows * columns])
    return tf.gather(flat, corner[..., None] + about.astype(np.int32), batch_dims=1)


def find_candidates(
    gamma: tf.Tensor, maps: LikelihoodMaps, noise_power: tf.Tensor, dictionary: PolarDictionary, count: int
) -> Candidates:
    """Finds the T = `count` highest peaks of gamma q and computes their features.

    `gamma` is [B, G] float32, `maps` are those from which it was computed, `noise_power` is sigma^2, [B] float32.
    """
    shape = dictionary.config.shape
    indices, values = grid_peaks(gamma * maps.q, dictionary, count)
    cells = tf.reshape(tf.transpose(tf.unravel_index(tf.reshape(indices, [-1]), shape)), [-1, count, 3])
    log_gamma = _neighbourhoods(tf.math.log(gamma + 1e-9), cells, shape)
    log_ratio = _neighbourhoods(tf.math.log((maps.v + 1e-6) / (maps.q + 1e-6)), cells, shape)
    log_power = tf.reduce_logsumexp(log_gamma, axis=-1)
    amplitude = tf.exp(0.5 * log_power)
    share = amplitude / tf.reduce_sum(amplitude, axis=1, keepdims=True)
    valid = values > 0.0
    ones = tf.ones_like(log_power)
    scalars = [
        log_power / 5.0,
        3.0 * share,
        0.2 * tf.math.log(tf.maximum(values, 1e-9)),
        tf.math.log(tf.gather(maps.q, indices, batch_dims=1)),
        0.2 * tf.math.log(noise_power)[:, None] * ones,
        tf.cast(valid, tf.float32),
    ]
    middle = log_gamma[..., _NEIGHBOURS // 2, None]
    last = np.array(shape, np.float32) - 1.0
    place = tf.cast(cells, tf.float32)
    features = tf.concat(
        [
            tf.clip_by_value(log_gamma - middle, -6.0, 6.0) / 3.0,
            tf.clip_by_value(log_ratio, -3.0, 3.0),
            tf.stack(scalars, axis=-1),
            2.0 * place / last - 1.0,
        ],
        axis=-1,
    )
    apart = tf.clip_by_value(place[:, :, None] - place[:, None], -_FAR_CELLS, _FAR_CELLS) * (2.0 / _FAR_CELLS)
    louder = tf.clip_by_value(log_power[:, :, None] - log_power[:, None], -6.0, 6.0) / 3.0
    relations = tf.concat([apart, louder[..., None], tf.abs(apart)], axis=-1)
    return Candidates(indices, valid, log_power, features, relations)


@keras.saving.register_keras_serializable("ris_mvdr")
class StartNetwork(keras.layers.Layer):
    """Message-passing network from `Candidates` to a `Start`; its outputs are zero before training."""

    def __init__(self, config: StartConfig = StartConfig(), **kwargs) -> None:
        super().__init__(**kwargs)
        dense, width = keras.layers.Dense, config.width
        self.embedding = [dense(width, "gelu", name="embedding_0"), dense(width, name="embedding_1")]
        self.gates, self.updates, self.norms = [], [], []
        for i in range(config.messages):
            self.gates.append([dense(width // 2, "gelu", name=f"gate_{i}_0"), dense(width, name=f"gate_{i}_1")])
            self.updates.append([dense(2 * width, "gelu", name=f"update_{i}_0"), dense(width, name=f"update_{i}_1")])
            self.norms.append(keras.layers.LayerNormalization(name=f"norm_{i}"))
        self.readout = dense(5, kernel_initializer="zeros", name="readout")
        build_in_turn(self.embedding, (None, None, NUM_FEATURES))
        for gate, update, norm in zip(self.gates, self.updates, self.norms, strict=True):
            build_in_turn(gate, (None, None, None, NUM_RELATIONS))
            build_in_turn(update, (None, None, 2 * width))
            norm.build((None, None, width))
        self.readout.build((None, None, width))
        self.built = True

    def call(self, candidates: Candidates) -> Start:
        hidden = in_turn(self.embedding, candidates.features)
        for gate, update, norm in zip(self.gates, self.updates, self.norms, strict=True):
            own = norm(hidden)
            heard = tf.reduce_sum(in_turn(gate, candidates.relations) * own[:, None], axis=2) / 4.0
            hidden += in_turn(update, tf.concat([own, heard], axis=-1))
        logits, log_power, *offsets = tf.unstack(in_turn([self.readout], hidden), axis=-1)
        return Start(logits, tf.stack(offsets, axis=-1), log_power)


def started_atoms(
    candidates: Candidates,
    start: Start,
    noise_power: tf.Tensor,
    dictionary: PolarDictionary,
    count: int,
    min_presence: float,
) -> Atoms:
    """Converts the `count` <= T most probable candidates to atoms, with the network's offsets and powers.

    Atoms with a lower probability than `min_presence` are inactive. `noise_power` is sigma^2, [B] float32.
    """
    logits, order = tf.math.top_k(tf.where(candidates.valid, start.logits, -np.float32(np.inf)), count)
    offsets, log_power, indices = (
        tf.gather(values, order, batch_dims=1)
        for values in (start.offsets, candidates.log_power + start.log_power, candidates.indices)
    )
    offsets = tf.clip_by_value(offsets, -_LONGEST_OFFSET, _LONGEST_OFFSET)
    places = tf.gather(dictionary.places(), indices) + offsets * dictionary.cell_size()
    low, high = dictionary.edges()
    places = tf.clip_by_value(places, low, high)
    log_power -= tf.math.log(tf.gather(dictionary.norm2, indices))
    parameters = tf.concat(
        [tf.asin(places[..., :2]), places[..., 2:], tf.maximum(log_power, _LEAST_LOG_POWER)[..., None]], axis=-1
    )
    return Atoms(parameters, logits > np.float32(np.log(min_presence / (1.0 - min_presence))), noise_power)
