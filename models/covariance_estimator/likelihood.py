"""The Gaussian likelihood of a few off-grid atoms: value, gradient, Fisher information, log-likelihood ratios.

S_l = sum_k b_lk b_lk^H + sigma^2 I with b_lk = sqrt(gamma_k) Phi_l a(psi_k). For parameter i of atom k let
p_ki = sqrt(gamma_k) Phi_l da_k/dpsi_i (b/2 for the log power), so that dS_l = p_ki b_k^H + b_k p_ki^H. Then
    dNLL     = 2 Re sum_l [b_k^H S^-1 p_ki - (b_k^H S^-1 y)(p_ki^H S^-1 y)^*]
    F        = 2 Re sum_l [G(b_k, p_jm) G(b_j, p_ki) + G(b_k, b_j) G(p_jm, p_ki)],  G(x, y) = x^H S^-1 y
    llr_k    = sum_l log(1 - alpha_lk) + |u_lk|^2 / (1 - alpha_lk),  alpha = G(b_k, b_k), u = b_k^H S^-1 y
llr_k is the log-likelihood ratio of the model with atom k to the model without it. F is also the bound of Stoica and
Nehorai (1990) for Gaussian symbols. For the log of the noise power
    dNLL     = sigma^2 sum_l [tr S^-1 - |S^-1 y|^2],   F = sigma^4 sum_l tr S^-2.
With A sources and M antennas no matrix larger than A x A is factorised. For B = [b_1 .. b_A], W = B^H B + sigma^2 I,
z = W^-1 B^H y and the residual e = y - B z, Woodbury's identity gives
    B^H S^-1 x = W^-1 B^H x,    x^H S^-1 v = (x^H v - (B^H x)^H W^-1 B^H v) / sigma^2,    S^-1 y = e / sigma^2,
    y^H S^-1 y = |e|^2 / sigma^2 + |z|^2,    log |S| = log |W| + (M - A) log sigma^2,    u = z,
    1 - alpha_k = sigma^2 (W^-1)_kk,    tr S^-n = (M - A) / sigma^2n + tr W^-n.
"""

from typing import NamedTuple

import tensorflow as tf

from models.physics.geometry import RISArray
from models.physics.observation import Observation
from models.physics.steering import steering_jacobian, steering_vectors

PARAMETERS_PER_ATOM = 4


class Atoms(NamedTuple):
    """Off-grid atoms of a batch of scenes.

    parameters: [B, A, 4] float32: azimuth, elevation (radians), inverse range (1/m), log power in the normalised scene.
    active: [B, A] bool; the parameters of an inactive atom are undefined.
    noise_power: sigma^2, [B] float32. A mismatched channel raises it above the receiver's noise power.
    """

    parameters: tf.Tensor
    active: tf.Tensor
    noise_power: tf.Tensor

    def powers(self) -> tf.Tensor:
        """Powers, [B, A] float32; zero if inactive."""
        return tf.where(self.active, tf.exp(self.parameters[..., 3]), 0.0)

    def steering(self, array: RISArray) -> tf.Tensor:
        """Steering vectors, [B, N, A] complex64."""
        azimuth, elevation, inverse_range, _ = tf.unstack(self.parameters, axis=-1)
        return tf.linalg.matrix_transpose(steering_vectors(azimuth, elevation, inverse_range, array))


def atom_specs(slots: int) -> Atoms:
    """Specs of the tensors of `Atoms` with `slots` atoms per scene; B is free."""
    return Atoms(
        tf.TensorSpec([None, slots, PARAMETERS_PER_ATOM], tf.float32, "parameters"),
        tf.TensorSpec([None, slots], tf.bool, "active"),
        tf.TensorSpec([None], tf.float32, "noise_power"),
    )


class Evaluation(NamedTuple):
    """The likelihood at a set of atoms.

    Parameter i of atom k has the index i A + k, so that all azimuths come first. All tensors are float32.

    nll: negative log-likelihood without its constant, [B].
    gradient: of the NLL, [B, 4A].
    fisher: Fisher information, [B, 4A, 4A]; rows of inactive atoms are zero.
    llr: log-likelihood ratio of each atom, [B, A].
    noise_gradient, noise_fisher: with respect to the log of the noise power, [B]; cross terms with the atoms are
      neglected.
    """

    nll: tf.Tensor
    gradient: tf.Tensor
    fisher: tf.Tensor
    llr: tf.Tensor
    noise_gradient: tf.Tensor
    noise_fisher: tf.Tensor


def _columns(atoms: Atoms, array: RISArray) -> tf.Tensor:
    """sqrt(gamma_k) [da/dpsi_i, a/2] of every atom, [B, N, 4A] complex64; zero if inactive."""
    azimuth, elevation, inverse_range, _ = tf.unstack(atoms.parameters, axis=-1)
    vectors, slopes = steering_jacobian(azimuth, elevation, inverse_range, array)
    columns = tf.concat([slopes, 0.5 * vectors[..., None, :]], axis=-2)  # [B, A, 4, N]
    columns *= tf.cast(tf.sqrt(atoms.powers()), columns.dtype)[..., None, None]
    columns = tf.transpose(columns, [0, 3, 2, 1])
    size = PARAMETERS_PER_ATOM * tf.shape(columns)[-1]
    return tf.reshape(columns, [tf.shape(columns)[0], array.num_elements, size])


def _fisher(rows: tf.Tensor, products: tf.Tensor) -> tf.Tensor:
    """Fisher information, [B, 4A, 4A], from G(b_k, p_jm) [B, L, A, 4A] and G(p_ki, p_jm) [B, L, 4A, 4A]."""
    num_snapshots, num_atoms = tf.shape(rows)[1], tf.shape(rows)[2]
    rows = tf.reshape(rows, [-1, num_snapshots, num_atoms, PARAMETERS_PER_ATOM, num_atoms])
    shape = [-1, num_snapshots, PARAMETERS_PER_ATOM, num_atoms, PARAMETERS_PER_ATOM, num_atoms]
    own = 2.0 * tf.math.conj(rows[..., -1, :])  # G(b_j, b_k)
    fisher = tf.einsum("blkmj,bljik->bikmj", rows, rows)
    fisher += tf.einsum("blkj,blikmj->bikmj", own, tf.reshape(products, shape))
    size = PARAMETERS_PER_ATOM * num_atoms
    return 2.0 * tf.reshape(tf.math.real(fisher), [-1, size, size])


def evaluate_atoms(observation: Observation, atoms: Atoms, array: RISArray) -> Evaluation:
    """Evaluates the likelihood, its derivatives and the log-likelihood ratio of each atom.

    Takes about 8 L M N 4A real operations per scene, and 8 L (4A)^2 (M + A) on small matrices.
    """
    num_snapshots, num_antennas = tf.shape(observation.snapshots)[1], observation.channel.shape[1]
    num_atoms = tf.shape(atoms.active)[-1]
    per_atom = (PARAMETERS_PER_ATOM, num_atoms)
    response = observation.respond(_columns(atoms, array))  # P: p_ki, [B, L, M, 4A]
    snapshots = observation.snapshots
    sources = 2.0 * response[..., -num_atoms:]  # B
    gram = tf.matmul(response, response, adjoint_a=True)  # P^H P
    seen = 2.0 * gram[..., -num_atoms:, :]  # B^H P
    noise_power = atoms.noise_power
    noise = tf.cast(noise_power, gram.dtype)[:, None, None, None]
    identity = tf.eye(num_atoms, dtype=gram.dtype)
    chol = tf.linalg.cholesky(2.0 * seen[..., -num_atoms:] + noise * identity)
    inverse = tf.linalg.cholesky_solve(chol, tf.broadcast_to(identity, tf.shape(chol)))
    rows = tf.matmul(inverse, seen)  # G(b_k, p_jm)
    symbols = tf.linalg.matvec(inverse, tf.linalg.matvec(sources, snapshots, adjoint_a=True))  # z
    residual = snapshots - tf.linalg.matvec(sources, symbols)  # e
    precision = tf.cast(1.0 / noise_power, gram.dtype)[:, None, None]
    projected = (gram - tf.matmul(seen, rows, adjoint_a=True)) * precision[..., None]  # G(p_ki, p_jm)
    of_places = tf.linalg.matvec(response[..., :-num_atoms], residual, adjoint_a=True) * precision
    with_snapshots = tf.concat([of_places, 0.5 * symbols], axis=-1)  # G(p_ki, y); e and z avoid cancellation

    misfit = tf.reduce_sum(tf.abs(residual) ** 2, axis=(1, 2)) / noise_power
    noise_alone = tf.cast(num_snapshots * (num_antennas - num_atoms), noise_power.dtype)  # dimensions without a source
    log_det = 2.0 * tf.reduce_sum(tf.math.log(tf.math.real(tf.linalg.diag_part(chol))), axis=(1, 2))
    log_det += noise_alone * tf.math.log(noise_power)
    nll = log_det + misfit + tf.reduce_sum(tf.abs(symbols) ** 2, axis=(1, 2))

    own = tf.einsum("blkik->bik", tf.reshape(tf.math.real(rows), [-1, num_snapshots, num_atoms, *per_atom]))
    with_snapshots = tf.reshape(with_snapshots, [-1, num_snapshots, *per_atom])
    gradient = own - tf.math.real(tf.einsum("blk,blik->bik", symbols, tf.math.conj(with_snapshots)))
    gradient = tf.reshape(2.0 * gradient, [-1, PARAMETERS_PER_ATOM * num_atoms])

    variance = tf.math.real(tf.linalg.diag_part(inverse))
    remaining = noise_power[:, None, None] * variance  # 1 - alpha
    llr = tf.reduce_sum(tf.math.log(remaining) + tf.abs(symbols) ** 2 / remaining, axis=1)

    noise_gradient = noise_alone + noise_power * tf.reduce_sum(variance, axis=(1, 2)) - misfit
    noise_fisher = noise_alone + noise_power**2 * tf.reduce_sum(tf.abs(inverse) ** 2, axis=(1, 2, 3))
    return Evaluation(nll, gradient, _fisher(rows, projected), llr, noise_gradient, noise_fisher)


def error_covariance(atoms: Atoms, evaluation: Evaluation) -> tf.Tensor:
    """4 x 4 blocks of the inverse Fisher information, one per atom: [B, A, 4, 4] float32.

    A block is the error covariance of an atom whose nuisance parameters are all other atoms.
    """
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
