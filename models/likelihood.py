"""The Gaussian likelihood of a few off-grid atoms: value, gradient, Fisher information, leave-one-out gains.

S_l = sum_k gamma_k b_lk b_lk^H + sigma^2 I with b_lk = Phi_l a(psi_k). For parameter i of atom k let
p_ki = Phi_l da_k/dpsi_i (p = b/2 for the log power), so that dS_l = gamma_k (p_ki b_k^H + b_k p_ki^H). Then
    dNLL     = 2 gamma_k Re sum_l [b_k^H S^-1 p_ki - (b_k^H S^-1 y)(p_ki^H S^-1 y)^*]
    F        = 2 gamma_k gamma_j Re sum_l [G(b_k, p_jm) G(b_j, p_ki) + G(b_k, b_j) G(p_jm, p_ki)],  G(x, y) = x^H S^-1 y
    gain_k   = sum_l log(1 - gamma_k alpha_lk) + gamma_k |u_lk|^2 / (1 - gamma_k alpha_lk),
with alpha = G(b_k, b_k), u = b_k^H S^-1 y: the log-likelihood lost when atom k is removed. F is also the bound of
Stoica and Nehorai (1990) for Gaussian symbols.
"""

from typing import NamedTuple

import tensorflow as tf

from models.geometry import RISArray
from models.observation import Observation
from models.steering import steering_jacobian, steering_vectors

PARAMETERS_PER_ATOM = 4


class Atoms(NamedTuple):
    """Off-grid atoms of a batch of scenes.

    parameters: [B, A, 4] float32: azimuth, elevation (radians), inverse range (1/m), log power
      (of the normalised scene).
    active: [B, A] bool; the parameters of an inactive atom mean nothing.
    """

    parameters: tf.Tensor
    active: tf.Tensor

    def powers(self) -> tf.Tensor:
        """[B, A] float32, zero where inactive."""
        return tf.where(self.active, tf.exp(self.parameters[..., 3]), 0.0)

    def steering(self, array: RISArray) -> tf.Tensor:
        """[B, N, A] complex64."""
        azimuth, elevation, inverse_range, _ = tf.unstack(self.parameters, axis=-1)
        return tf.linalg.matrix_transpose(steering_vectors(azimuth, elevation, inverse_range, array))


class Evaluation(NamedTuple):
    """The likelihood at a set of atoms.

    nll: [B]. gradient: [B, 4A] of the NLL. fisher: [B, 4A, 4A]; rows of inactive atoms are zero. gains: [B, A].
    Parameter index is i A + k: all azimuths first.
    """

    nll: tf.Tensor
    gradient: tf.Tensor
    fisher: tf.Tensor
    gains: tf.Tensor


def evaluate_atoms(observation: Observation, atoms: Atoms, array: RISArray) -> Evaluation:
    """Evaluates the likelihood and its local geometry.

    Args:
      observation: B scenes of L snapshots and M antennas.
      atoms: A atoms a scene.
      array: the surface.

    Returns:
      The evaluation. About 8 L M N 4A real operations a scene, the rest is small.
    """
    num_atoms = atoms.active.shape[-1]
    gamma = atoms.powers()
    azimuth, elevation, inverse_range, _ = tf.unstack(atoms.parameters, axis=-1)
    vectors, slopes = steering_jacobian(azimuth, elevation, inverse_range, array)
    columns = tf.concat([slopes, 0.5 * vectors[..., None, :]], axis=-2)  # [B, A, 4, N]
    columns = tf.transpose(columns, [0, 3, 2, 1])
    shape = tf.shape(columns)
    columns = tf.reshape(columns, [shape[0], columns.shape[1], PARAMETERS_PER_ATOM * num_atoms])
    response = observation.respond(columns)  # p_ki, [B, L, M, 4A]
    complex_dtype = response.dtype
    amplitude = tf.cast(2.0 * tf.sqrt(gamma), complex_dtype)[:, None, None, :]
    scaled = response[..., -num_atoms:] * amplitude
    noise = tf.cast(observation.noise_power, complex_dtype)[:, None, None, None]
    identity = tf.eye(tf.shape(observation.channel)[1], dtype=complex_dtype)
    chol = tf.linalg.cholesky(tf.matmul(scaled, scaled, adjoint_b=True) + noise * identity)
    white = tf.linalg.triangular_solve(chol, tf.concat([response, observation.snapshots[..., None]], axis=-1))
    gram = tf.matmul(white, white, adjoint_a=True)
    p_p, p_y = gram[..., :-1, :-1], gram[..., :-1, -1]
    b_p, b_y = 2.0 * p_p[..., -num_atoms:, :], 2.0 * p_y[..., -num_atoms:]  # [B, L, A, 4A], [B, L, A]
    b_b = 2.0 * b_p[..., -num_atoms:]

    log_det = 2.0 * tf.reduce_sum(tf.math.log(tf.math.real(tf.linalg.diag_part(chol))), axis=(-2, -1))
    nll = log_det + tf.reduce_sum(tf.math.real(gram[..., -1, -1]), axis=-1)

    own = tf.tile(tf.eye(num_atoms, dtype=complex_dtype), [1, PARAMETERS_PER_ATOM])  # picks p_ki of atom k
    own_b_p = tf.reduce_sum(b_p * own, axis=-2)  # G(b_k, p_ki), [B, L, 4A]
    tiled_b_y = tf.tile(b_y, [1, 1, PARAMETERS_PER_ATOM])
    tiled_gamma = tf.tile(gamma, [1, PARAMETERS_PER_ATOM])
    slope = tf.reduce_sum(tf.math.real(own_b_p - tiled_b_y * tf.math.conj(p_y)), axis=1)
    gradient = 2.0 * tiled_gamma * slope

    tiled_b_p = tf.tile(b_p, [1, 1, PARAMETERS_PER_ATOM, 1])  # row (i, k): G(b_k, p_jm)
    tiled_b_b = tf.tile(b_b, [1, 1, PARAMETERS_PER_ATOM, PARAMETERS_PER_ATOM])
    cross = tiled_b_p * tf.linalg.matrix_transpose(tiled_b_p) + tiled_b_b * tf.linalg.matrix_transpose(p_p)
    fisher = 2.0 * tiled_gamma[:, :, None] * tiled_gamma[:, None, :] * tf.reduce_sum(tf.math.real(cross), axis=1)

    alpha = tf.math.real(tf.linalg.diag_part(b_b)) * gamma[:, None]
    remaining = tf.maximum(1.0 - alpha, 1e-6)
    gains = tf.math.log(remaining) + gamma[:, None] * tf.abs(b_y) ** 2 / remaining
    return Evaluation(nll, gradient, fisher, tf.reduce_sum(gains, axis=1))
