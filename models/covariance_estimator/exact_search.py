"""What one more atom gains at every grid point, exactly: the search where the channel has a low rank.

Through a channel of full rank an atom arrives with nearly the same energy in every snapshot, and peaks of the
back-projected power are where sources are. Through one of low rank, a line of sight say, alpha_l follows the codes, and
it is by that pattern over the snapshots that sources are told apart: only the exact gain (new_atom.py) shows them.
There the channel's few strongest directions W hold nearly all of it: with P = W^H H the covariance of W^H y_l is
S_l = W^H Phi_l R Phi_l^H W + sigma^2 I, a few rows wide, and
    alpha_l = |S_l^-1/2 P diag(c_l) d|^2,    b_l = |y_l^H W S_l^-1 P diag(c_l) d|^2.
"""

from typing import NamedTuple

import tensorflow as tf

from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.likelihood import Atoms
from models.covariance_estimator.new_atom import best_power, llr_at
from models.physics.observation import Observation


class Search(NamedTuple):
    """gain: log-likelihood at its best power, [B, G] float32, zero where no power gains. power: that one, [B, G]."""

    llr: tf.Tensor
    power: tf.Tensor


def effective_rank(channel: tf.Tensor) -> tf.Tensor:
    """(tr H H^H)^2 / tr (H H^H)^2: how many directions share the channel's energy evenly. [B, M, N] -> [B] float32."""
    gram = tf.matmul(channel, channel, adjoint_b=True)
    trace = tf.math.real(tf.linalg.trace(gram))
    return trace**2 / tf.reduce_sum(tf.abs(gram) ** 2, axis=(1, 2))


def search_grid(observation: Observation, atoms: Atoms, dictionary: PolarDictionary, directions: int) -> Search:
    """Tests every grid point for the gain of a new atom beyond those there are.

    Args:
      observation: the scenes.
      atoms: in S_l already.
      dictionary: the grid.
      directions: of the channel that are kept, the strongest ones.

    Returns:
      The gains. One scene after the other: a map of all snapshots and grid points is large.
    """
    channel = observation.channel
    _, vectors = tf.linalg.eigh(tf.matmul(channel, channel, adjoint_b=True))
    strongest = vectors[..., -min(directions, channel.shape[1]) :]
    reduced = tf.matmul(strongest, channel, adjoint_a=True)
    snapshots = tf.matmul(observation.snapshots, tf.math.conj(strongest))
    amplitudes = tf.cast(tf.sqrt(atoms.powers()), tf.complex64)[:, None]
    response = observation.respond(atoms.steering(dictionary.array) * amplitudes)
    response = tf.einsum("bmr,blma->blra", tf.math.conj(strongest), response)
    noise = tf.cast(atoms.noise_power, tf.complex64)[:, None, None, None]
    identity = tf.eye(reduced.shape[1], dtype=tf.complex64)
    chol = tf.linalg.cholesky(tf.matmul(response, response, adjoint_b=True) + noise * identity)

    def one_scene(scene: tuple[tf.Tensor, ...]) -> Search:
        chol, reduced, codes, snapshots = scene
        rows = tf.linalg.triangular_solve(chol, reduced[None] * codes[:, None])
        white = tf.linalg.triangular_solve(chol, snapshots[..., None])
        alpha = tf.maximum(dictionary.beam_power(tf.math.conj(rows)), 1e-6)[None]
        b = dictionary.beam_power(tf.math.conj(tf.matmul(white, rows, adjoint_a=True)))[None]
        power = best_power(alpha, b)
        useful = tf.reduce_sum(b - alpha, axis=1) > 0.0
        return Search(tf.where(useful, llr_at(power, alpha, b), 0.0)[0], power[0])

    scenes = (chol, reduced, observation.ris_codes, snapshots)
    signature = Search(*(tf.TensorSpec([dictionary.config.size], tf.float32) for _ in Search._fields))
    return tf.map_fn(one_scene, scenes, fn_output_signature=signature, parallel_iterations=1)
