"""The likelihood of sources with several paths. All paths of a source have the same symbols and form one column.

A source k with a direct path (an atom) and reflected paths q has the column
    s_lk = b_lk + sum_q b_lq,    b_lq = sqrt(gamma_q) exp(j phase_q) Phi_l a(psi_q),
where the phase of the direct path is the reference, and S_l = sum_k s_lk s_lk^H + sigma^2 I. For parameter i of a path
of source k let p_i be the derivative of s_lk, so that dS_l = p_i s_k^H + s_k p_i^H. Then, with G(x, y) = x^H S^-1 y,
    dNLL = 2 Re sum_l [G(s_k, p_i) - G(s_k, y) G(p_i, y)^*]
    F_ij = 2 Re sum_l [G(s_i, p_j) G(s_j, p_i) + G(s_i, s_j) G(p_i, p_j)^*],    s_i: column of the source of i.
Without reflected paths this is the likelihood of independent sources, `models.covariance_estimator.likelihood`.
"""

from typing import NamedTuple

import tensorflow as tf

from models.covariance_estimator.likelihood import PARAMETERS_PER_ATOM, Atoms
from models.physics.geometry import RISArray
from models.physics.observation import Observation
from models.physics.steering import steering_jacobian, steering_vectors

PARAMETERS_PER_PATH = 5


class Paths(NamedTuple):
    """Reflected paths of a batch of scenes, P slots per scene.

    points: [B, P, 3] float32: azimuth, elevation (radians), inverse range (1/m) of the image of the source; fixed in
      the likelihood.
    log_power: [B, P] float32.
    phase: phase relative to the direct path, radians, [B, P] float32.
    source: slot of the atom that is the direct path of the same source, [B, P] int32.
    active: [B, P] bool; the other entries of an inactive path are undefined.
    """

    points: tf.Tensor
    log_power: tf.Tensor
    phase: tf.Tensor
    source: tf.Tensor
    active: tf.Tensor

    def steering(self, array: RISArray) -> tf.Tensor:
        """Steering vectors, [B, N, P] complex64."""
        azimuth, elevation, inverse_range = tf.unstack(self.points, axis=-1)
        return tf.linalg.matrix_transpose(steering_vectors(azimuth, elevation, inverse_range, array))

    def amplitudes(self) -> tf.Tensor:
        """sqrt(gamma) exp(j phase), [B, P] complex64; zero if inactive."""
        modulus = tf.where(self.active, tf.exp(0.5 * self.log_power), 0.0)
        return tf.complex(modulus * tf.cos(self.phase), modulus * tf.sin(self.phase))

    def of_source(self, num_atoms: int) -> tf.Tensor:
        """One if a path belongs to a source, else zero: [B, P, A] float32."""
        return tf.where(self.active[..., None], tf.one_hot(self.source, num_atoms), 0.0)


def no_paths(num_scenes: tf.Tensor, count: int) -> Paths:
    """`count` empty slots per scene."""
    empty = tf.zeros([num_scenes, count])
    return Paths(
        tf.zeros([num_scenes, count, 3]), empty, empty, tf.zeros([num_scenes, count], tf.int32), tf.cast(empty, tf.bool)
    )


class Unmixed(NamedTuple):
    """Sources and snapshots multiplied by S_l^-1, and the estimated symbols.

    sources: S_l^-1 s_lk, [B, L, M, A] complex64.
    snapshots: S_l^-1 y_l, [B, L, M] complex64.
    symbols: s_lk^H S_l^-1 y_l, posterior means of the unit-variance symbols, [B, L, A] complex64.
    certainty: s_lk^H S_l^-1 s_lk, one minus the posterior variance of the symbols, [B, L, A] float32.
    root: X_l with X_l^H X_l = S_l^-1, [B, L, M, M] complex64.
    """

    sources: tf.Tensor
    snapshots: tf.Tensor
    symbols: tf.Tensor
    certainty: tf.Tensor
    root: tf.Tensor


def source_columns(atoms: Atoms, paths: Paths, array: RISArray) -> tf.Tensor:
    """sqrt(gamma_k) a(psi_k) + sum_q sqrt(gamma_q) exp(j phase_q) a(psi_q): [B, N, A] complex64; zero if inactive."""
    direct = atoms.steering(array) * tf.cast(tf.sqrt(atoms.powers()), tf.complex64)[:, None]
    member = tf.cast(paths.of_source(atoms.active.shape[-1]), tf.complex64)
    reflected = tf.matmul(paths.steering(array) * paths.amplitudes()[:, None], member)
    return tf.where(atoms.active[:, None], direct + reflected, 0.0)


def _inverse_root(sources: tf.Tensor, noise_power: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The root X_l of `Unmixed`, and sum_l log |S_l|, [B]."""
    identity = tf.eye(sources.shape[-2], dtype=sources.dtype)
    noise = tf.cast(noise_power, sources.dtype)[:, None, None, None]
    chol = tf.linalg.cholesky(tf.matmul(sources, sources, adjoint_b=True) + noise * identity)
    diagonal = tf.math.real(tf.linalg.diag_part(chol))
    root = tf.linalg.triangular_solve(chol, tf.broadcast_to(identity, tf.shape(chol)))
    return root, 2.0 * tf.reduce_sum(tf.math.log(diagonal), axis=(1, 2))


def _unmixed(observation: Observation, sources: tf.Tensor, root: tf.Tensor) -> Unmixed:
    white = tf.matmul(root, tf.concat([sources, observation.snapshots[..., None]], axis=-1))
    solved = tf.matmul(root, white, adjoint_a=True)
    white_sources, white_snapshots = white[..., :-1], white[..., -1:]
    symbols = tf.matmul(white_sources, white_snapshots, adjoint_a=True)[..., 0]
    certainty = tf.reduce_sum(tf.abs(white_sources) ** 2, axis=2)
    return Unmixed(solved[..., :-1], solved[..., -1], symbols, certainty, root)


def unmix(observation: Observation, atoms: Atoms, paths: Paths, array: RISArray) -> Unmixed:
    """Estimates the symbols of the sources, and computes what a search for further paths needs."""
    sources = observation.respond(source_columns(atoms, paths, array))
    return _unmixed(observation, sources, _inverse_root(sources, atoms.noise_power)[0])


class PathEvaluation(NamedTuple):
    """The likelihood at sources with several paths. All tensors are float32.

    There are D = 4A + 2P parameters. Parameter i of atom k has the index i A + k; the log powers of the reflected paths
    follow, then their phases.

    nll: negative log-likelihood without its constant, [B].
    gradient: of the NLL, [B, D].
    fisher: Fisher information, [B, D, D]; rows of inactive parameters are zero.
    llr: log-likelihood ratio of each source, [B, A].
    path_llr: log-likelihood ratio of each reflected path, [B, P].
    noise_gradient, noise_fisher: with respect to the log of the noise power, [B]; cross terms are neglected.
    """

    nll: tf.Tensor
    gradient: tf.Tensor
    fisher: tf.Tensor
    llr: tf.Tensor
    path_llr: tf.Tensor
    noise_gradient: tf.Tensor
    noise_fisher: tf.Tensor


def _slopes(atoms: Atoms, paths: Paths, array: RISArray) -> tf.Tensor:
    """sqrt(gamma_k) [da/dpsi_i, a/2] of the atoms, then sqrt(gamma_q) e^(j phase_q) a / 2: [B, N, 4A + P] complex64."""
    azimuth, elevation, inverse_range = tf.unstack(atoms.parameters[..., :3], axis=-1)
    vectors, slopes = steering_jacobian(azimuth, elevation, inverse_range, array)
    columns = tf.concat([slopes, 0.5 * vectors[..., None, :]], axis=-2)
    columns *= tf.cast(tf.sqrt(atoms.powers()), tf.complex64)[..., None, None]
    columns = tf.reshape(
        tf.transpose(columns, [0, 3, 2, 1]), [-1, array.num_elements, PARAMETERS_PER_ATOM * vectors.shape[-2]]
    )
    return tf.concat([columns, 0.5 * paths.steering(array) * paths.amplitudes()[:, None]], axis=-1)


def _path_llr(white_source: tf.Tensor, white_path: tf.Tensor, white_snapshots: tf.Tensor) -> tf.Tensor:
    """Log-likelihood ratio of a path b of the source s, [B, P] float32.

    Without the path, S becomes S - s s^H + (s - b)(s - b)^H = S + [s, b] K [s, b]^H with K = [[0, -1], [-1, 1]]. With W
    = K^-1 + [s, b]^H S^-1 [s, b] and u = [s, b]^H S^-1 y the log-likelihood ratio is log(-|W|) - u^H W^-1 u. The
    arguments are S^(-1/2) s and S^(-1/2) b of each path, [B, L, M, P], and of the snapshots, [B, L, M, 1].
    """
    first = tf.reduce_sum(tf.abs(white_source) ** 2, axis=2) - 1.0
    off = tf.reduce_sum(tf.math.conj(white_source) * white_path, axis=2) - 1.0
    last = tf.reduce_sum(tf.abs(white_path) ** 2, axis=2)
    u_source = tf.reduce_sum(tf.math.conj(white_source) * white_snapshots, axis=2)
    u_path = tf.reduce_sum(tf.math.conj(white_path) * white_snapshots, axis=2)
    determinant = tf.minimum(first * last - tf.abs(off) ** 2, -1e-6)
    form = last * tf.abs(u_source) ** 2 + first * tf.abs(u_path) ** 2
    form -= 2.0 * tf.math.real(tf.math.conj(u_source) * off * u_path)
    return tf.reduce_sum(tf.math.log(-determinant) - form / determinant, axis=1)


def evaluate_paths(
    observation: Observation, atoms: Atoms, paths: Paths, array: RISArray
) -> tuple[PathEvaluation, Unmixed]:
    """Evaluates the likelihood of sources, whose direct paths are the atoms, with several paths.

    Also returns the estimated symbols.
    """
    num_atoms, num_paths = atoms.active.shape[-1], paths.active.shape[-1]
    of_source = tf.cast(paths.of_source(num_atoms), tf.complex64)  # [B, P, A]
    response = observation.respond(_slopes(atoms, paths, array))
    halves = response[..., (PARAMETERS_PER_ATOM - 1) * num_atoms :]
    sources = 2.0 * (halves[..., :num_atoms] + tf.matmul(halves[..., num_atoms:], of_source[:, None]))
    sources = tf.where(atoms.active[:, None, None], sources, 0.0)
    root, log_det = _inverse_root(sources, atoms.noise_power)
    unmixed = _unmixed(observation, sources, root)
    slopes = tf.concat([response, 2j * response[..., PARAMETERS_PER_ATOM * num_atoms :]], axis=-1)  # p_i, [B, L, M, D]
    white = tf.matmul(root, tf.concat([slopes, sources, observation.snapshots[..., None]], axis=-1))
    p, s, y = tf.split(white, [slopes.shape[-1], num_atoms, 1], axis=-1)
    nll = log_det + tf.reduce_sum(tf.abs(y) ** 2, axis=(1, 2, 3))

    own = tf.eye(num_atoms, batch_shape=[tf.shape(response)[0]], dtype=tf.complex64)
    owner = tf.concat([own] * PARAMETERS_PER_ATOM + [of_source] * 2, axis=1)[:, None]  # [B, 1, D, A]
    rows = tf.matmul(owner, tf.matmul(s, p, adjoint_a=True))  # G(s_i, p_j), [B, L, D, D]
    shared = tf.matmul(owner, tf.matmul(tf.matmul(s, s, adjoint_a=True), owner, transpose_b=True))
    products = rows * tf.linalg.matrix_transpose(rows) + shared * tf.math.conj(tf.matmul(p, p, adjoint_a=True))
    fisher = 2.0 * tf.reduce_sum(tf.math.real(products), axis=1)
    seen = tf.linalg.matvec(owner, unmixed.symbols) * tf.math.conj(tf.matmul(p, y, adjoint_a=True)[..., 0])
    gradient = 2.0 * tf.reduce_sum(tf.math.real(tf.linalg.diag_part(rows) - seen), axis=1)

    remaining = tf.maximum(1.0 - unmixed.certainty, 1e-6)
    llr = tf.reduce_sum(tf.math.log(remaining) + tf.abs(unmixed.symbols) ** 2 / remaining, axis=1)
    reflected = 2.0 * p[..., PARAMETERS_PER_ATOM * num_atoms :][..., :num_paths]
    path_llr = _path_llr(tf.matmul(s, of_source[:, None], transpose_b=True), reflected, y)

    inverse = tf.matmul(root, root, adjoint_a=True)
    trace = tf.reduce_sum(tf.abs(root) ** 2, axis=(1, 2, 3))
    noise_gradient = atoms.noise_power * (trace - tf.reduce_sum(tf.abs(unmixed.snapshots) ** 2, axis=(1, 2)))
    noise_fisher = atoms.noise_power**2 * tf.reduce_sum(tf.abs(inverse) ** 2, axis=(1, 2, 3))
    path_llr = tf.where(paths.active, path_llr, 0.0)
    return PathEvaluation(nll, gradient, fisher, llr, path_llr, noise_gradient, noise_fisher), unmixed
