"""The Gaussian likelihood of a few off-grid atoms: value, gradient, Fisher information, leave-one-out gains.

S_l = sum_k b_lk b_lk^H + sigma^2 I with b_lk = sqrt(gamma_k) Phi_l a(psi_k). For parameter i of atom k let
p_ki = sqrt(gamma_k) Phi_l da_k/dpsi_i (b/2 for the log power), so that dS_l = p_ki b_k^H + b_k p_ki^H. Then
    dNLL     = 2 Re sum_l [b_k^H S^-1 p_ki - (b_k^H S^-1 y)(p_ki^H S^-1 y)^*]
    F        = 2 Re sum_l [G(b_k, p_jm) G(b_j, p_ki) + G(b_k, b_j) G(p_jm, p_ki)],  G(x, y) = x^H S^-1 y
    gain_k   = sum_l log(1 - alpha_lk) + |u_lk|^2 / (1 - alpha_lk),  alpha = G(b_k, b_k), u = b_k^H S^-1 y:
the log-likelihood lost when atom k is removed. F is also the bound of Stoica and Nehorai (1990) for Gaussian symbols.
For the log of the noise power
    dNLL     = sigma^2 sum_l [tr S^-1 - |S^-1 y|^2],   F = sigma^4 sum_l tr S^-2.
"""

from typing import NamedTuple

import tensorflow as tf

from models.physics.geometry import RISArray
from models.physics.observation import Observation
from models.physics.steering import steering_jacobian, steering_vectors

PARAMETERS_PER_ATOM = 4


class Atoms(NamedTuple):
    """Off-grid atoms of a batch of scenes.

    parameters: [B, A, 4] float32: azimuth, elevation (radians), inverse range (1/m), log power
      (of the normalised scene).
    active: [B, A] bool; the parameters of an inactive atom mean nothing.
    noise_power: sigma^2, [B] float32: what the atoms leave, which a mismatched channel raises above the receiver's.
    """

    parameters: tf.Tensor
    active: tf.Tensor
    noise_power: tf.Tensor

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
    noise_gradient, noise_fisher: [B], by the log of the noise power; its cross terms with the atoms are left out.
    Parameter index is i A + k: all azimuths first.
    """

    nll: tf.Tensor
    gradient: tf.Tensor
    fisher: tf.Tensor
    gains: tf.Tensor
    noise_gradient: tf.Tensor
    noise_fisher: tf.Tensor


def _columns(atoms: Atoms, array: RISArray) -> tf.Tensor:
    """sqrt(gamma_k) [da/dpsi_i, a/2] of every atom, [B, N, 4A] complex64; zero where inactive."""
    azimuth, elevation, inverse_range, _ = tf.unstack(atoms.parameters, axis=-1)
    vectors, slopes = steering_jacobian(azimuth, elevation, inverse_range, array)
    columns = tf.concat([slopes, 0.5 * vectors[..., None, :]], axis=-2)  # [B, A, 4, N]
    columns *= tf.cast(tf.sqrt(atoms.powers()), columns.dtype)[..., None, None]
    columns = tf.transpose(columns, [0, 3, 2, 1])
    return tf.reshape(columns, [tf.shape(columns)[0], array.num_elements, PARAMETERS_PER_ATOM * columns.shape[-1]])


def _fisher(real: tf.Tensor, imag: tf.Tensor, num_atoms: int) -> tf.Tensor:
    """Fisher information from G(p_ki, p_jm), [B, L, 4A, 4A] as its two parts, in real arithmetic (twice as fast)."""
    rows = [tf.tile(part[..., -num_atoms:, :], [1, 1, PARAMETERS_PER_ATOM, 1]) for part in (real, imag)]
    own = [tf.tile(row[..., -num_atoms:], [1, 1, 1, PARAMETERS_PER_ATOM]) for row in rows]
    first = rows[0] * tf.linalg.matrix_transpose(rows[0]) - rows[1] * tf.linalg.matrix_transpose(rows[1])
    return 8.0 * tf.reduce_sum(first + own[0] * real + own[1] * imag, axis=1)


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
    response = observation.respond(_columns(atoms, array))  # p_ki, [B, L, M, 4A]
    sources = 2.0 * response[..., -num_atoms:]
    identity = tf.eye(observation.channel.shape[1], dtype=response.dtype)
    noise = tf.cast(atoms.noise_power, response.dtype)[:, None, None, None]
    chol = tf.linalg.cholesky(tf.matmul(sources, sources, adjoint_b=True) + noise * identity)
    identities = tf.broadcast_to(identity, tf.shape(chol))
    white = tf.linalg.triangular_solve(chol, tf.concat([response, observation.snapshots[..., None], identities], -1))
    size = response.shape[-1]
    data, inverse_root = white[..., : size + 1], white[..., size + 1 :]
    gram = tf.matmul(data, data, adjoint_a=True)
    real, imag = tf.math.real(gram[..., :-1, :-1]), tf.math.imag(gram[..., :-1, :-1])

    log_det = 2.0 * tf.reduce_sum(tf.math.log(tf.math.real(tf.linalg.diag_part(chol))), axis=(-2, -1))
    nll = log_det + tf.reduce_sum(tf.math.real(gram[..., -1, -1]), axis=-1)

    picks_own = tf.tile(tf.eye(num_atoms), [1, PARAMETERS_PER_ATOM])
    own = tf.reduce_sum(2.0 * tf.reduce_sum(real[..., -num_atoms:, :], axis=1) * picks_own, axis=-2)
    p_y = gram[..., :-1, -1]
    b_y = 2.0 * p_y[..., -num_atoms:]
    seen = tf.math.real(tf.tile(b_y, [1, 1, PARAMETERS_PER_ATOM]) * tf.math.conj(p_y))
    gradient = 2.0 * (own - tf.reduce_sum(seen, axis=1))

    remaining = tf.maximum(1.0 - 4.0 * tf.linalg.diag_part(real)[..., -num_atoms:], 1e-6)
    gains = tf.math.log(remaining) + tf.abs(b_y) ** 2 / remaining

    inverse = tf.matmul(inverse_root, tf.concat([inverse_root, data[..., -1:]], axis=-1), adjoint_a=True)
    power = tf.abs(inverse) ** 2
    trace = tf.reduce_sum(tf.abs(inverse_root) ** 2, axis=(1, 2, 3))
    noise_gradient = atoms.noise_power * (trace - tf.reduce_sum(power[..., -1], axis=(1, 2)))
    noise_fisher = atoms.noise_power**2 * tf.reduce_sum(power[..., :-1], axis=(1, 2, 3))
    fisher = _fisher(real, imag, num_atoms)
    return Evaluation(nll, gradient, fisher, tf.reduce_sum(gains, axis=1), noise_gradient, noise_fisher)


def error_covariance(atoms: Atoms, evaluation: Evaluation) -> tf.Tensor:
    """Each atom's 4 x 4 block of the inverse Fisher information, all others unknown: [B, A, 4, 4] float32."""
    num_atoms = atoms.active.shape[-1]
    fisher = evaluation.fisher
    diagonal = tf.linalg.diag_part(fisher)
    scale = tf.math.rsqrt(tf.where(diagonal > 0, diagonal, 1.0))
    scaled = fisher * scale[:, :, None] * scale[:, None, :]
    scaled = tf.linalg.set_diag(scaled, tf.ones_like(diagonal) + 1e-5)
    size = fisher.shape[-1]
    chol = tf.linalg.cholesky(scaled)
    inverse = tf.linalg.cholesky_solve(chol, tf.eye(size, batch_shape=[tf.shape(fisher)[0]]))
    inverse = inverse * scale[:, :, None] * scale[:, None, :]
    blocks = tf.reshape(inverse, [-1, PARAMETERS_PER_ATOM, num_atoms, PARAMETERS_PER_ATOM, num_atoms])
    return tf.einsum("bikjk->bkij", blocks)
