"""Exact log-likelihood ratio of a new atom at every grid point, for low-rank channels.

Through a full-rank channel an atom is received with nearly the same energy in every snapshot, and the peaks of the
back-projected power show the sources. Through a low-rank channel, such as a line of sight, alpha_l varies with the
codes, and only its pattern over the snapshots separates the sources. The exact log-likelihood ratio (new_atom.py) uses
this pattern. A few dominant directions W contain nearly all of such a channel. With P = W^H H, the covariance of
W^H y_l is the small matrix S_l = W^H Phi_l R Phi_l^H W + sigma^2 I, and
    alpha_l = |S_l^-1/2 P diag(c_l) d|^2,    b_l = |y_l^H W S_l^-1 P diag(c_l) d|^2.
"""

from typing import NamedTuple

import tensorflow as tf

from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.likelihood import Atoms
from models.covariance_estimator.new_atom import best_power, llr_at
from models.physics.observation import Observation


class Search(NamedTuple):
    """Log-likelihood ratio at the best power, and that power, [B, G] float32 each.

    The ratio is zero where no power increases the likelihood.
    """

    llr: tf.Tensor
    power: tf.Tensor


def effective_rank(channel: tf.Tensor) -> tf.Tensor:
    """Effective rank of the channel, (tr H H^H)^2 / tr (H H^H)^2: [B, M, N] complex64 -> [B] float32."""
    gram = tf.matmul(channel, channel, adjoint_b=True)
    trace = tf.math.real(tf.linalg.trace(gram))
    return trace**2 / tf.reduce_sum(tf.abs(gram) ** 2, axis=(1, 2))


def search_grid(observation: Observation, atoms: Atoms, dictionary: PolarDictionary, directions: int) -> Search:
    """Log-likelihood ratios and best powers of a new atom at every grid point, given the atoms in S_l.

    Uses this number of dominant directions of the channel. Processes one scene after the other, because a map of all
    snapshots and grid points is large.
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
