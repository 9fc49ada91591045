"""Likelihood maps on the polar grid: v = d^H V d and q = d^H Q d.

With z_l = Phi_l^H S_l^-1 y_l, V = mean_l z_l z_l^H and Q = mean_l Phi_l^H S_l^-1 Phi_l, the gradient of the negative
log-likelihood with respect to R is L (Q - V). v and q are its two terms at each grid point (Barthelme and Utschick,
arXiv 2009.12858).
"""

from typing import NamedTuple

import tensorflow as tf

from models.covariance_estimator.dictionary import PolarDictionary
from models.physics.observation import Observation


class LikelihoodMaps(NamedTuple):
    """v and q, [B, G] float32 each."""

    v: tf.Tensor
    q: tf.Tensor

    def log_likelihood_ratio(self, num_snapshots: tf.Tensor) -> tf.Tensor:
        """Log-likelihood ratio of a source at each grid point at its best power: L (u - 1 - log u), u = v/q > 1.

        [B, G] float32. Exact if q is the same for every snapshot, otherwise an approximation that ranks well.
        """
        ratio = tf.maximum(self.v / self.q, 1.0)
        return tf.cast(num_snapshots, ratio.dtype) * (ratio - 1.0 - tf.math.log(ratio))

    def newton_power(self) -> tf.Tensor:
        """Power of a single source at each grid point, by one Newton step from zero, (v - q) / q^2: [B, G] float32."""
        return tf.maximum(self.v - self.q, 0.0) / self.q**2


def diffuse_maps(observation: Observation, dictionary: PolarDictionary, diffuse_power: tf.Tensor) -> LikelihoodMaps:
    """Maps for R = c I with c [B] float32, for which S = c H H^H + sigma^2 I is the same in every snapshot."""
    channel = observation.channel
    covariance = tf.cast(diffuse_power, channel.dtype)[:, None, None] * tf.matmul(channel, channel, adjoint_b=True)
    noise = tf.cast(observation.noise_power, channel.dtype)[:, None, None]
    chol = tf.linalg.cholesky(covariance + noise * tf.eye(tf.shape(channel)[1], dtype=channel.dtype))
    white_channel = tf.linalg.triangular_solve(chol, channel)
    white_snapshots = tf.linalg.triangular_solve(chol, tf.linalg.matrix_transpose(observation.snapshots))
    back_projected = tf.matmul(white_snapshots, white_channel, adjoint_a=True)
    z = tf.math.conj(observation.ris_codes * back_projected)
    codes = observation.ris_codes
    num_snapshots = tf.cast(tf.shape(codes)[1], tf.float32)
    code_gram = tf.matmul(codes, codes, adjoint_a=True) / tf.cast(num_snapshots, codes.dtype)
    q_matrix = tf.matmul(white_channel, white_channel, adjoint_a=True) * code_gram
    return LikelihoodMaps(dictionary.beam_power(z) / num_snapshots, dictionary.quadratic_form(q_matrix))


def atom_maps(
    observation: Observation,
    dictionary: PolarDictionary,
    atoms: tf.Tensor,
    powers: tf.Tensor,
    diffuse_power: tf.Tensor,
    noise_power: tf.Tensor,
) -> LikelihoodMaps:
    """Maps for R = A diag(powers) A^H + diffuse_power I.

    A is [B, N, P] complex64; powers [B, P], diffuse_power and noise_power [B] are float32, at least zero.
    """
    channel = observation.channel
    complex_dtype = channel.dtype
    columns = atoms * tf.cast(tf.sqrt(powers), complex_dtype)[:, None, :]
    response = tf.linalg.matrix_transpose(observation.respond(tf.linalg.matrix_transpose(columns)))
    shared = tf.cast(diffuse_power, complex_dtype)[:, None, None] * tf.matmul(channel, channel, adjoint_b=True)
    noise = tf.cast(noise_power, complex_dtype)[:, None, None]
    shared += noise * tf.eye(tf.shape(channel)[1], dtype=complex_dtype)
    chol = tf.linalg.cholesky(tf.matmul(response, response, adjoint_b=True) + shared[:, None])
    right = tf.broadcast_to(channel[:, None], tf.concat([tf.shape(response)[:3], [channel.shape[-1]]], 0))
    white = tf.linalg.triangular_solve(chol, tf.concat([right, observation.snapshots[..., None]], axis=-1))
    white_operator, white_snapshots = white[..., :-1] * observation.ris_codes[:, :, None], white[..., -1:]
    z = tf.matmul(white_operator, white_snapshots, adjoint_a=True)[..., 0]
    shape = tf.shape(white_operator)
    stacked = tf.reshape(white_operator, [shape[0], shape[1] * shape[2], white_operator.shape[-1]])
    num_snapshots = tf.cast(shape[1], tf.float32)
    q_matrix = tf.matmul(stacked, stacked, adjoint_a=True) / tf.cast(num_snapshots, complex_dtype)
    return LikelihoodMaps(dictionary.beam_power(z) / num_snapshots, dictionary.quadratic_form(q_matrix))
