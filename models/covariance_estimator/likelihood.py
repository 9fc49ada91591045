"""The Gaussian likelihood of the sources of one scene: value, gradient, Fisher information, log-likelihood ratios.

A source k with the direct path k and reflected paths q has the column
    s_lk = b_lk + sum_q b_lq,    b_lq = sqrt(gamma_q) exp(j phase_q) Phi_l a(psi_q),    phase_k = 0,
and S_l = sum_k s_lk s_lk^H + sigma^2 I. For a parameter i of a path of source k let p_i = ds_lk / di: for the place of
a path sqrt(gamma) exp(j phase) Phi_l da/dpsi, for its log power b/2, for its phase j b. Then dS_l is p_i s_k^H plus its
adjoint and, with G(x, y) = x^H S^-1 y and s_i the column of the source of parameter i,
    dNLL     = 2 Re sum_l [G(s_i, p_i) - G(s_i, y) G(p_i, y)^*]
    F_ij     = 2 Re sum_l [G(s_i, p_j) G(s_j, p_i) + G(s_i, s_j) G(p_i, p_j)^*]
    llr_k    = sum_l log(1 - alpha_lk) + |u_lk|^2 / (1 - alpha_lk),  alpha = G(s_k, s_k), u = G(s_k, y).
llr_k is the log-likelihood ratio of the model with source k to the model without it. F is also the bound of Stoica and
Nehorai (1990) for Gaussian symbols. For the log of the noise power
    dNLL     = sigma^2 sum_l [tr S^-1 - |S^-1 y|^2],   F = sigma^4 sum_l tr S^-2.
No matrix larger than A x A is factorised. For B = [s_1 .. s_A], W = B^H B + sigma^2 I, z = W^-1 B^H y and the residual
e = y - B z, Woodbury's identity gives
    B^H S^-1 x = W^-1 B^H x,    x^H S^-1 v = (x^H v - (B^H x)^H W^-1 B^H v) / sigma^2,    S^-1 y = e / sigma^2,
    y^H S^-1 y = |e|^2 / sigma^2 + |z|^2,    log |S| = log |W| + (M - A) log sigma^2,    u = z,
    1 - alpha_k = sigma^2 (W^-1)_kk,    tr S^-n = (M - A) / sigma^2n + tr W^-n.

Vectors are rows in the code, so that X X^H of rows is the conjugate of the Gram matrix of columns. All names with the
suffix `_c` are conjugates of what the equations define; real results do not depend on it.
"""

from typing import NamedTuple

import tensorflow as tf

from models.covariance_estimator.atoms import PARAMETERS_PER_ATOM, AtomEvaluation
from models.covariance_estimator.paths import Paths
from models.physics.geometry import RISArray
from models.physics.observation import Observation
from models.physics.steering import steering_jacobian

_LEAST_DETERMINANT = 1e-6


class Evaluation(NamedTuple):
    """The likelihood at the paths of one scene.

    There are D = 5P - A parameters: parameter i < 4 of path k has the index i P + k, the phases of the reflected paths
    follow. The first seven tensors are float32, the next four complex64.

    nll: negative log-likelihood without its constant, [].
    gradient: of the NLL, [D].
    fisher: Fisher information, [D, D].
    llr: log-likelihood ratio of each source with all its paths, [A].
    path_llr: log-likelihood ratio of each reflected path, [P - A].
    noise_gradient, noise_fisher: with respect to the log of the noise power, []; cross terms are neglected.
    sources: s_lk, [L, A, M].
    inverse_c: conjugate of W^-1, [L, A, A].
    symbols_c: conjugate of z, the posterior means of the unit-variance symbols, [L, A].
    residual: e, [L, M].
    settled: true after a refinement that converged, [] bool.
    """

    nll: tf.Tensor
    gradient: tf.Tensor
    fisher: tf.Tensor
    llr: tf.Tensor
    path_llr: tf.Tensor
    noise_gradient: tf.Tensor
    noise_fisher: tf.Tensor
    sources: tf.Tensor
    inverse_c: tf.Tensor
    symbols_c: tf.Tensor
    residual: tf.Tensor
    settled: tf.Tensor

    def certainty(self, noise_power: tf.Tensor) -> tf.Tensor:
        """G(s_lk, s_lk), one minus the posterior variance of the symbols, [L, A] float32."""
        return 1.0 - noise_power * tf.math.real(tf.linalg.diag_part(self.inverse_c))

    def energy(self, response: tf.Tensor, noise_power: tf.Tensor) -> tf.Tensor:
        """G(x, x) of received rows x, [L, J, M] complex64 -> [L, J] float32."""
        seen = tf.matmul(self.sources, response, adjoint_b=True)  # conjugate of B^H x, [L, A, J]
        explained = tf.math.real(tf.reduce_sum(tf.math.conj(seen) * tf.matmul(self.inverse_c, seen), axis=1))
        return (tf.reduce_sum(_abs2(response), axis=-1) - explained) / noise_power


def evaluation_specs(num_antennas: int) -> Evaluation:
    """Specs of the tensors of an `Evaluation`; L, A and P are free."""
    number, vector = tf.TensorSpec([], tf.float32), tf.TensorSpec([None], tf.float32)
    rows = tf.TensorSpec([None, None, num_antennas], tf.complex64)
    return Evaluation(
        nll=number,
        gradient=vector,
        fisher=tf.TensorSpec([None, None], tf.float32),
        llr=vector,
        path_llr=vector,
        noise_gradient=number,
        noise_fisher=number,
        sources=rows,
        inverse_c=tf.TensorSpec([None, None, None], tf.complex64),
        symbols_c=tf.TensorSpec([None, None], tf.complex64),
        residual=tf.TensorSpec([None, num_antennas], tf.complex64),
        settled=tf.TensorSpec([], tf.bool),
    )


def _abs2(values: tf.Tensor) -> tf.Tensor:
    return tf.math.real(values * tf.math.conj(values))


def _derivatives(paths: Paths, array: RISArray) -> tf.Tensor:
    """sqrt(gamma) exp(j phase) [da/dpsi, a/2] of every path, [4P, N] complex64, all azimuths first."""
    azimuth, elevation, inverse_range, _, _ = tf.unstack(paths.parameters, axis=-1)
    vectors, slopes = steering_jacobian(azimuth, elevation, inverse_range, array)
    rows = tf.concat([*tf.unstack(slopes, axis=1), 0.5 * vectors], axis=0)
    return rows * tf.tile(paths.amplitudes(), [PARAMETERS_PER_ATOM])[:, None]


def _real_parts(values: tf.Tensor, sign: float) -> tf.Tensor:
    """[L, ...] complex64 -> [2L, J] float32: real parts, and imaginary parts times `sign`, of each snapshot."""
    parts = tf.concat([tf.math.real(values), sign * tf.math.imag(values)], axis=0)
    return tf.reshape(parts, [2 * tf.shape(values)[0], tf.reduce_prod(tf.shape(values)[1:])])


def evaluate(observation: Observation, paths: Paths, array: RISArray) -> Evaluation:
    """Evaluates the likelihood of the paths of one scene, `observation` without the axis B.

    Takes about 8 L M N 4P real operations, and 8 L D^2 (M + A^2) on small matrices.
    """
    count, num_sources = paths.count, paths.num_sources
    size, first = PARAMETERS_PER_ATOM * count, (PARAMETERS_PER_ATOM - 1) * count
    response = observation.respond(_derivatives(paths, array))  # p_i of places and powers, [L, 4P, M]
    halves = response[:, first:]
    reflected = halves[:, num_sources:]
    of_source = tf.cast(paths.membership(), response.dtype)
    sources = 2.0 * (halves[:, :num_sources] + tf.matmul(of_source, reflected, transpose_a=True))
    response = tf.concat([response, 2j * reflected], axis=1)  # p_i, [L, D, M]
    owner = tf.concat([tf.tile(paths.source, [PARAMETERS_PER_ATOM]), paths.source[num_sources:]], axis=0)

    noise_power, snapshots = paths.noise_power, observation.snapshots
    noise = tf.cast(noise_power, response.dtype)
    identity = tf.one_hot(tf.range(num_sources), num_sources, dtype=response.dtype)
    chol = tf.linalg.cholesky(tf.matmul(sources, sources, adjoint_b=True) + noise * identity)
    inverse_c = tf.linalg.cholesky_solve(chol, tf.zeros_like(chol) + identity)
    seen = tf.matmul(sources, response, adjoint_b=True)
    rows_c = tf.matmul(inverse_c, seen)  # G(s_k, p_j), [L, A, D]
    products_c = tf.matmul(response, response, adjoint_b=True) - tf.matmul(seen, rows_c, adjoint_a=True)
    symbols_c = tf.linalg.matvec(inverse_c, tf.linalg.matvec(sources, tf.math.conj(snapshots)))
    residual = snapshots - tf.linalg.matvec(sources, tf.math.conj(symbols_c), transpose_a=True)
    with_snapshots_c = tf.linalg.matvec(response, tf.math.conj(residual)) / noise  # G(p_i, y), [L, D]
    # The log power of a direct path follows from z, which avoids cancellation at a high SNR.
    of_places, of_powers, of_reflected, of_phases = tf.split(
        with_snapshots_c, [first, num_sources, count - num_sources, count - num_sources], axis=1
    )
    of_powers = 0.5 * symbols_c - tf.linalg.matvec(of_source, of_reflected, transpose_a=True)
    with_snapshots_c = tf.concat([of_places, of_powers, of_reflected, of_phases], axis=1)

    # F_ij: entries (o(i), j), (o(j), i) and (o(i), o(j)), (i, j) of sums over all snapshots, o(i) the source of i.
    dimension = tf.size(owner)
    number = tf.range(dimension)
    of_pair = owner[:, None] * dimension + number
    rows_of_rows = tf.matmul(_real_parts(rows_c, -1.0), _real_parts(rows_c, 1.0), transpose_a=True)
    fisher = tf.gather_nd(rows_of_rows, tf.stack([of_pair, tf.transpose(of_pair)], axis=-1))
    shared_c = identity - noise * inverse_c  # G(s_k, s_j)
    shared_of_products = tf.matmul(_real_parts(shared_c, 1.0), _real_parts(products_c, 1.0), transpose_a=True)
    places = tf.stack([owner[:, None] * num_sources + owner, number[:, None] * dimension + number], axis=-1)
    fisher += tf.gather_nd(shared_of_products, places) / noise_power
    flat = tf.reshape(rows_c, [-1, num_sources * dimension])
    own_c = tf.gather(flat, owner * dimension + number, axis=1)  # G(s_i, p_i), [L, D]
    symbols_of_owner_c = tf.gather(symbols_c, owner, axis=1)
    gradient = tf.reduce_sum(own_c - symbols_of_owner_c * tf.math.conj(with_snapshots_c), axis=0)

    variance = tf.math.real(tf.linalg.diag_part(inverse_c))
    remaining = noise_power * variance  # 1 - alpha
    noise_alone = tf.cast(tf.shape(snapshots)[0] * (snapshots.shape[1] - num_sources), tf.float32)
    misfit = tf.reduce_sum(_abs2(residual)) / noise_power
    log_det = 2.0 * tf.reduce_sum(tf.math.log(tf.math.real(tf.linalg.diag_part(chol))))
    log_det += noise_alone * tf.math.log(noise_power)
    energy_c = tf.linalg.diag_part(products_c)[:, first + num_sources : size] / noise
    return Evaluation(
        nll=log_det + misfit + tf.reduce_sum(_abs2(symbols_c)),
        gradient=2.0 * tf.math.real(gradient),
        fisher=2.0 * fisher,
        llr=tf.reduce_sum(tf.math.log(remaining) + _abs2(symbols_c) / remaining, axis=0),
        path_llr=_path_llr(
            -tf.gather(remaining, paths.source[num_sources:], axis=1),
            2.0 * own_c[:, first + num_sources : size] - 1.0,
            4.0 * tf.math.real(energy_c),
            symbols_of_owner_c[:, first + num_sources : size],
            2.0 * of_reflected,
        ),
        noise_gradient=noise_alone + noise_power * tf.reduce_sum(variance) - misfit,
        noise_fisher=noise_alone + noise_power**2 * tf.reduce_sum(_abs2(inverse_c)),
        sources=sources,
        inverse_c=inverse_c,
        symbols_c=symbols_c,
        residual=residual,
        settled=tf.constant(False),
    )


def _path_llr(first: tf.Tensor, off: tf.Tensor, last: tf.Tensor, u_source: tf.Tensor, u_path: tf.Tensor) -> tf.Tensor:
    """Log-likelihood ratio of reflected paths b of sources s, [P - A] float32, from [L, P - A] each.

    Without the path, S becomes S - s s^H + (s - b)(s - b)^H = S + [s, b] K [s, b]^H with K = [[0, -1], [-1, 1]]. With W
    = K^-1 + [s, b]^H S^-1 [s, b] and u = [s, b]^H S^-1 y the log-likelihood ratio is log(-|W|) - u^H W^-1 u. The
    arguments are the entries of W and of u.
    """
    determinant = tf.minimum(first * last - _abs2(off), -_LEAST_DETERMINANT)
    form = last * _abs2(u_source) + first * _abs2(u_path)
    form -= 2.0 * tf.math.real(tf.math.conj(u_source) * off * u_path)
    return tf.reduce_sum(tf.math.log(-determinant) - form / determinant, axis=0)


def of_direct_paths(evaluation: Evaluation, paths: Paths) -> tf.Tensor:
    """Fisher information of the direct paths, [4A, 4A] float32, all azimuths first.

    The reflected paths are nuisance parameters: F_dd - F_dr F_rr^-1 F_rd.
    """
    num_sources, count = paths.num_sources, paths.count
    first = tf.range(PARAMETERS_PER_ATOM)[:, None] * count
    direct = tf.reshape(first + tf.range(num_sources), [-1])
    reflected = tf.reshape(first + tf.range(num_sources, count), [-1])
    reflected = tf.concat([reflected, tf.range(PARAMETERS_PER_ATOM * count, tf.size(evaluation.gradient))], axis=0)
    own, other = tf.gather(evaluation.fisher, direct), tf.gather(evaluation.fisher, reflected)
    nuisance = tf.gather(other, reflected, axis=1)
    scale = tf.math.rsqrt(tf.maximum(tf.linalg.diag_part(nuisance), 1e-12))
    scaled = nuisance * scale[:, None] * scale
    chol = tf.linalg.cholesky(tf.linalg.set_diag(scaled, tf.ones_like(scale) + 1e-3))
    explained = tf.linalg.triangular_solve(chol, tf.gather(other, direct, axis=1) * scale[:, None])
    return tf.gather(own, direct, axis=1) - tf.matmul(explained, explained, transpose_a=True)


def error_covariance(fisher: tf.Tensor, num_atoms: int | tf.Tensor) -> tf.Tensor:
    """4 x 4 blocks of the inverse Fisher information [..., 4A, 4A], one per atom: [..., A, 4, 4] float32.

    A block is the error covariance of an atom whose nuisance parameters are all other atoms.
    """
    diagonal = tf.linalg.diag_part(fisher)
    scale = tf.math.rsqrt(tf.where(diagonal > 0, diagonal, 1.0))
    scaled = fisher * scale[..., :, None] * scale[..., None, :]
    scaled = tf.linalg.set_diag(scaled, tf.ones_like(diagonal) + 1e-5)
    identity = tf.linalg.diag(tf.ones_like(diagonal))
    inverse = tf.linalg.cholesky_solve(tf.linalg.cholesky(scaled), identity)
    inverse = inverse * scale[..., :, None] * scale[..., None, :]
    per_atom = [PARAMETERS_PER_ATOM, num_atoms]
    blocks = tf.reshape(inverse, tf.concat([tf.shape(fisher)[:-2], per_atom, per_atom], axis=0))
    return tf.einsum("...ikjk->...kij", blocks)


def atom_evaluation(evaluation: Evaluation, paths: Paths, slots: int | tf.Tensor) -> AtomEvaluation:
    """The likelihood as a function of the direct paths in `slots` slots, with B = 1, as `Paths.atoms`."""
    num_sources = tf.minimum(paths.num_sources, slots)
    spare = [0, slots - num_sources]
    per_atom = [PARAMETERS_PER_ATOM, paths.num_sources]
    fisher = tf.reshape(of_direct_paths(evaluation, paths), [*per_atom, *per_atom])
    fisher = tf.pad(fisher[:, :num_sources, :, :num_sources], [[0, 0], spare, [0, 0], spare])
    size = PARAMETERS_PER_ATOM * slots
    return AtomEvaluation(
        tf.reshape(tf.pad(evaluation.llr[:num_sources], [spare]), [1, slots]), tf.reshape(fisher, [1, size, size])
    )
