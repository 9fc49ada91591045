"""Likelihood statistics of the element response g, summed over scenes: score, information, expectation step.

Let Phi_l = H diag(c_l), B_l = Phi_l diag(g) A P^(1/2), Gamma_l = I + B_l^H B_l / sigma^2, S_l = B_l B_l^H + sigma^2 I
and u_ln = B_l conj(a_n), where a_n is the n-th row of A P^(1/2). A change of g by delta changes S_l by
sum_n delta_n phi_ln u_ln^H plus its adjoint. Hence the score (the gradient of the log-likelihood by conj(g)) is
    e_n = sum_l (phi_n^H S^-1 y)(y^H S^-1 u_n) - phi_n^H S^-1 u_n
and the Fisher information delta -> 2 delta^H G delta + 2 Re(delta^H Q conj(delta)) with
    G_nm = sum_l (phi_n^H S^-1 phi_m)(u_m^H S^-1 u_n),    Q_nm = sum_l (phi_n^H S^-1 u_m)(phi_m^H S^-1 u_n).
The sources of a scene and its noise power are nuisance parameters theta: four numbers per source, and the noise power.
With theta unknown, the efficient score is z = e_g - F_gt F_tt^-1 e_t and the efficient information is
J = F_gg - F_gt F_tt^-1 F_tg (Bickel, Klaassen, Ritov and Wellner 1993). A phase ramp has almost no efficient
information, because a shift of all angles cancels it. z and J are real and belong to the 2N numbers (Re g, Im g).

The posterior of the symbols given y has mean s_l = B_l^H S_l^-1 y and covariance Gamma_l^-1 (in units of P^(1/2)). The
expectation step adds up
    T = (H^H H) o sum_l (conj(c_l) c_l^T) o conj(A P^(1/2) (s_l s_l^H + Gamma_l^-1) P^(1/2) A^H) / sigma^2
and b = e + T g (Fisher's identity), so that maximising gives g = T^-1 b (Dempster, Laird and Rubin 1977).
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.covariance_estimator.atoms import Atoms
from models.physics.geometry import FieldOfView, RISArray
from models.physics.observation import Observation
from models.physics.path_loss import LOG_POWER_WIDTH
from models.physics.steering import steering_jacobian


class SceneStatistics(NamedTuple):
    """Statistics at one element response.

    nll: negative log-likelihood of each scene, [B] float32.
    score: z of each scene, [B, 2N] float32.
    information: J, [2N, 2N] float32, summed over the scenes.
    gradient: e, [N] complex64, summed over the scenes.
    complete: T, [N, N] complex64, summed over the scenes.
    """

    nll: tf.Tensor
    score: tf.Tensor
    information: tf.Tensor
    gradient: tf.Tensor
    complete: tf.Tensor


class SceneParts(NamedTuple):
    """Intermediate results for B scenes with K sources each; complex64 except `nll`.

    vectors: A P^(1/2), [B, N, K].
    slopes: S^-1 d(B_l)/d(theta) for 4 parameters per source, all azimuths first, [B, L, M, 4K].
    response: B_l and its derivatives, [B, L, M, 5K].
    white: S^-1 B_l, [B, L, M, K].
    inverse: Gamma^-1, [B, L, K, K].
    residual: S^-1 y, [B, L, M, 1].
    symbols: s_l, [B, L, K, 1].
    noise: sigma^2, [B, 1, 1, 1].
    nll: negative log-likelihood, [B] float32.
    """

    vectors: tf.Tensor
    slopes: tf.Tensor
    response: tf.Tensor
    white: tf.Tensor
    inverse: tf.Tensor
    residual: tf.Tensor
    symbols: tf.Tensor
    noise: tf.Tensor
    nll: tf.Tensor


def _adjoint_product(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    return tf.matmul(left, right, adjoint_a=True)


def _columns(atoms: Atoms, array: RISArray) -> tf.Tensor:
    """P^(1/2) [a, da/dphi, da/dtheta, da/dw, a/2] of every source: [B, N, 5K]; zero for inactive sources."""
    azimuth, elevation, inverse_range, _ = tf.unstack(atoms.parameters, axis=-1)
    vectors, slopes = steering_jacobian(azimuth, elevation, inverse_range, array)
    columns = tf.concat([vectors[..., None, :], slopes, 0.5 * vectors[..., None, :]], axis=-2)
    columns *= tf.cast(tf.sqrt(atoms.powers()), columns.dtype)[..., None, None]
    columns = tf.transpose(columns, [0, 3, 2, 1])
    return tf.reshape(columns, [tf.shape(columns)[0], array.num_elements, 5 * atoms.active.shape[-1]])


def _respond(observation: Observation, response: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
    """Phi_l diag(g) x_j: [B, N, J] -> [B, L, M, J]."""
    arriving = (observation.ris_codes * response)[..., None] * vectors[:, None]
    return tf.matmul(observation.channel[:, None], arriving)


def _back(observation: Observation, values: tf.Tensor) -> tf.Tensor:
    """Phi_l^H x_j: [B, L, M, J] -> [B, L, N, J]."""
    back = tf.matmul(observation.channel[:, None], values, adjoint_a=True)
    return back * tf.math.conj(observation.ris_codes)[..., None]


def scene_parts(observation: Observation, response: tf.Tensor, atoms: Atoms, array: RISArray) -> SceneParts:
    """Computes the intermediate results that all statistics share; arguments as for `scene_statistics`."""
    columns = _columns(atoms, array)
    size = atoms.active.shape[-1]
    responses = _respond(observation, response, columns)
    sources, by_parameter = responses[..., :size], responses[..., size:]
    noise = tf.cast(atoms.noise_power, columns.dtype)[:, None, None, None]
    identity = tf.eye(size, dtype=columns.dtype)
    chol = tf.linalg.cholesky(_adjoint_product(sources, sources) / noise + identity)
    inverse = tf.linalg.cholesky_solve(chol, tf.broadcast_to(identity, tf.shape(chol)))
    snapshots = observation.snapshots[..., None]
    projected = _adjoint_product(sources, tf.concat([by_parameter, snapshots], -1)) / noise
    inside = tf.matmul(inverse, projected)
    solved = (tf.concat([by_parameter, snapshots], -1) - tf.matmul(sources, inside)) / noise
    log_det = 2.0 * tf.reduce_sum(tf.math.log(tf.math.real(tf.linalg.diag_part(chol))), axis=(1, 2))
    num_values = tf.cast(tf.size(observation.snapshots[0]), tf.float32)
    nll = log_det + num_values * tf.math.log(atoms.noise_power)
    nll += tf.reduce_sum(tf.math.real(tf.math.conj(snapshots[..., 0]) * solved[..., -1]), axis=(1, 2))
    return SceneParts(
        vectors=columns[..., :size],
        slopes=solved[..., :-1],
        response=responses,
        white=tf.matmul(sources, inverse) / noise,
        inverse=inverse,
        residual=solved[..., -1:],
        symbols=inside[..., -1:],
        noise=noise,
        nll=nll,
    )


def _gram(rows: tf.Tensor, other: tf.Tensor | None = None) -> tf.Tensor:
    """[X, Y]^T [X', Y'] of rows Z = X + jY: [..., R, N] -> [..., 2N, 2N], as one real product."""
    left = tf.concat([tf.math.real(rows), tf.math.imag(rows)], -1)
    right = left if other is None else tf.concat([tf.math.real(other), tf.math.imag(other)], -1)
    return tf.matmul(left, right, transpose_a=True)


def _hermitian(gram: tf.Tensor) -> tf.Tensor:
    """Z^H Z from the real Gram matrix."""
    n = gram.shape[-1] // 2
    return tf.complex(gram[..., :n, :n] + gram[..., n:, n:], gram[..., :n, n:] - gram[..., n:, :n])


def _symmetric(gram: tf.Tensor) -> tf.Tensor:
    """Z^T Z' from the real Gram matrix."""
    n = gram.shape[-1] // 2
    return tf.complex(gram[..., :n, :n] - gram[..., n:, n:], gram[..., :n, n:] + gram[..., n:, :n])


def _pairs(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Products of every pair of columns: [B, L, N, K], [B, L or 1, N, J] -> [B L K J, N]."""
    left, right = tf.linalg.matrix_transpose(left), tf.linalg.matrix_transpose(right)
    product = left[..., :, None, :] * right[..., None, :, :]
    return tf.reshape(product, [-1, product.shape[-1]])


def _arriving(observation: Observation, parts: SceneParts, root: tf.Tensor) -> tf.Tensor:
    """Sum over scenes of (H^H H / sigma^2) o Z^H Z; Z has the rows c_l o (A P^(1/2) root_l): [N, N] complex."""
    rows = observation.ris_codes[..., None] * tf.matmul(parts.vectors[:, None], root)
    rows = tf.linalg.matrix_transpose(rows)
    rows = tf.reshape(rows, [tf.shape(rows)[0], -1, rows.shape[-1]])
    channel = _adjoint_product(observation.channel, observation.channel) / parts.noise[:, 0]
    return tf.reduce_sum(channel * _hermitian(_gram(rows)), axis=0)


def _root(matrix: tf.Tensor) -> tf.Tensor:
    """A Cholesky factor of a matrix between 0 and I, [..., K, K]."""
    return tf.linalg.cholesky(matrix + 1e-6 * tf.eye(matrix.shape[-1], dtype=matrix.dtype))


def real_form(hermitian: tf.Tensor, symmetric: tf.Tensor) -> tf.Tensor:
    """Matrix of the form 2 delta^H G delta + 2 Re(delta^H Q conj(delta)) in (Re delta, Im delta): [2N, 2N] real."""
    g_real, g_imag = tf.math.real(hermitian), tf.math.imag(hermitian)
    q_real, q_imag = tf.math.real(symmetric), tf.math.imag(symmetric)
    upper = tf.concat([g_real + q_real, q_imag - g_imag], -1)
    lower = tf.concat([g_imag + q_imag, g_real - q_real], -1)
    return 2.0 * tf.concat([upper, lower], -2)


def _element_information(observation: Observation, parts: SceneParts, back: tf.Tensor) -> tf.Tensor:
    """F_gg summed over the scenes, [2N, 2N]."""
    size = parts.vectors.shape[-1]
    inner = tf.eye(size, dtype=back.dtype) - parts.inverse  # B^H S^-1 B
    hermitian = _arriving(observation, parts, _root(inner))
    unexplained = _back(observation, tf.matmul(parts.response[..., :size], _root(parts.inverse)) / parts.noise)
    explained = tf.matmul(parts.vectors[:, None], _root(inner))
    hermitian -= _hermitian(_gram(_pairs(tf.math.conj(unexplained), explained)))
    arriving = tf.math.conj(parts.vectors)[:, None]
    # phi_n^H S^-1 u_m = sum_k back_nk conj(a_mk)
    symmetric = _symmetric(_gram(_pairs(back, arriving), _pairs(arriving, back)))
    return real_form(hermitian, symmetric)


def prior_precision(field_of_view: FieldOfView, num_sources: int) -> np.ndarray:
    """Prior precision of theta for sources anywhere in the field of view, [4K + 1] float32.

    The precisions are the inverse variances of uniform priors. Angles and inverse ranges have the width of the field of
    view; the powers, including the noise power, have the width that `models.physics.path_loss` gives.
    """
    limits = (field_of_view.azimuth, field_of_view.elevation, field_of_view.inverse_range)
    widths = [*(high - low for low, high in limits), LOG_POWER_WIDTH]
    return np.array([*np.repeat(widths, num_sources), LOG_POWER_WIDTH], np.float32) ** -2 * 12.0


class _Nuisance(NamedTuple):
    """Statistics of theta, P = 4K + 1 numbers per scene.

    score: [B, P]. information: [B, P, P]. cross: cross-information with g, [B, 2N, P].
    """

    score: tf.Tensor
    information: tf.Tensor
    cross: tf.Tensor


def _nuisance(observation: Observation, parts: SceneParts, active: tf.Tensor, precision: tf.Tensor) -> _Nuisance:
    """Score and information of the sources and the noise power, and their cross-information with g."""
    size = parts.vectors.shape[-1]
    own = tf.tile(tf.eye(size, dtype=parts.inverse.dtype), [1, 4])  # source of each of the 4K parameters
    sources, slopes = parts.response[..., :size], parts.response[..., size:]
    inner = tf.eye(size, dtype=own.dtype) - parts.inverse
    to_slopes = _adjoint_product(parts.white, slopes)  # B^H S^-1 p, [B, L, K, 4K]
    between = _adjoint_product(slopes, parts.slopes)  # p^H S^-1 p'
    seen = _adjoint_product(slopes, parts.residual)  # p^H S^-1 y
    # tr(S^-1 (p b^H + b p^H) S^-1 (p' b'^H + b' p'^H)) = 2 Re[(b^H S^-1 p')(b'^H S^-1 p) + (b^H S^-1 b')(p'^H S^-1 p)]
    at_own = tf.matmul(own, to_slopes, transpose_a=True)  # b_i^H S^-1 p_j, [B, L, 4K, 4K]
    inner_own = tf.matmul(tf.matmul(own, inner, transpose_a=True), own)
    first = at_own * tf.linalg.matrix_transpose(at_own)
    second = inner_own * tf.linalg.matrix_transpose(between)
    information = 2.0 * tf.reduce_sum(tf.math.real(first + second), axis=1)
    own_symbols = tf.matmul(own, parts.symbols, transpose_a=True)
    score = tf.math.real(tf.math.conj(own_symbols) * seen)[..., 0] - tf.math.real(tf.linalg.diag_part(at_own))
    score = 2.0 * tf.reduce_sum(score, axis=1)

    noise = parts.noise
    twice = tf.matmul(parts.white, parts.inverse) / noise  # S^-2 B
    with_noise = tf.matmul(own, _adjoint_product(twice, slopes), transpose_a=True)  # b_i^H S^-2 p_j
    with_noise = 2.0 * tf.reduce_sum(tf.math.real(noise[..., 0] * tf.linalg.diag_part(with_noise)), axis=1)
    power = tf.math.real(noise[:, 0, 0, 0])
    count = tf.cast(tf.shape(sources)[1] * tf.shape(sources)[2], tf.float32)
    inverse = tf.math.real(tf.linalg.diag_part(parts.inverse))
    squares = tf.math.real(parts.inverse * tf.linalg.matrix_transpose(parts.inverse))
    snapshots = tf.cast(tf.shape(sources)[1], tf.float32)
    trace = count - size * snapshots + tf.reduce_sum(inverse, axis=(1, 2))  # sigma^2 tr S^-1
    trace_squares = count - size * snapshots + tf.reduce_sum(squares, axis=(1, 2, 3))
    noise_score = power * tf.reduce_sum(tf.abs(parts.residual) ** 2, axis=(1, 2, 3)) - trace

    back_white, back_twice = _back(observation, parts.white), _back(observation, noise * twice)
    back_slopes = _back(observation, parts.slopes)
    arriving = tf.math.conj(parts.vectors)[:, None]
    # (b^H S^-1 u_n)(phi_n^H S^-1 p) + (p^H S^-1 u_n)(phi_n^H S^-1 b)
    to_sources = tf.matmul(arriving, tf.matmul(own, inner, transpose_a=True), transpose_b=True)
    to_parameters = tf.matmul(arriving, tf.math.conj(to_slopes))
    cross = to_sources * back_slopes + to_parameters * tf.matmul(back_white, own)
    cross = tf.concat([cross, tf.reduce_sum(back_twice * arriving, axis=-1, keepdims=True)], axis=-1)
    cross = 2.0 * tf.reduce_sum(cross, axis=1)

    information = tf.concat([information, with_noise[:, :, None]], axis=2)
    last = tf.concat([with_noise, trace_squares[:, None]], axis=1)
    information = tf.concat([information, last[:, None, :]], axis=1)
    used = tf.concat([tf.tile(active, [1, 4]), tf.ones_like(active[:, :1])], axis=1)
    loading = precision + tf.where(used, 0.0, 1.0)
    information = tf.linalg.set_diag(information, tf.linalg.diag_part(information) + loading)
    real_cross = tf.concat([tf.math.real(cross), tf.math.imag(cross)], axis=1)
    return _Nuisance(tf.concat([score, noise_score[:, None]], axis=1), information, real_cross)


def _whitened(nuisance: _Nuisance) -> tuple[tf.Tensor, tf.Tensor]:
    """F_tg and e_t, whitened by the Cholesky factor of F_tt: [B, P, 2N], [B, P, 1]."""
    diagonal = tf.linalg.diag_part(nuisance.information)
    scale = tf.math.rsqrt(diagonal)
    scaled = nuisance.information * scale[:, :, None] * scale[:, None, :]
    chol = tf.linalg.cholesky(tf.linalg.set_diag(scaled, tf.ones_like(diagonal) + 1e-6))
    right = tf.concat([tf.linalg.matrix_transpose(nuisance.cross), nuisance.score[..., None]], axis=-1)
    solved = tf.linalg.triangular_solve(chol, right * scale[..., None])
    return solved[..., :-1], solved[..., -1:]


def scene_statistics(
    observation: Observation, response: tf.Tensor, atoms: Atoms, precision: tf.Tensor, array: RISArray
) -> SceneStatistics:
    """Computes the statistics of scenes whose sources are at the maximum of the likelihood, or near it.

    The cost is about 4 L K^2 (2N)^2 real operations per scene. The codes are those sent, without g, which is
    `response`, [N] complex64. precision: prior precision of theta, [B, 4K + 1] float32, see `prior_precision`; high for
    a source at a known position.
    """
    parts = scene_parts(observation, response, atoms, array)
    back = _back(observation, parts.white)
    arriving = tf.math.conj(parts.vectors)[:, None]
    seen = _back(observation, parts.residual)[..., 0]  # Phi^H S^-1 y
    symbols = tf.matmul(arriving, tf.math.conj(parts.symbols))[..., 0]  # y^H S^-1 u_n
    gradient = tf.reduce_sum(seen * symbols - tf.reduce_sum(back * arriving, axis=-1), axis=1)
    nuisance = _nuisance(observation, parts, atoms.active, precision)
    cross, white_score = _whitened(nuisance)
    score = 2.0 * tf.concat([tf.math.real(gradient), tf.math.imag(gradient)], axis=-1)
    score -= tf.matmul(cross, white_score, transpose_a=True)[..., 0]
    rows = tf.reshape(cross, [-1, cross.shape[-1]])
    information = _element_information(observation, parts, back) - tf.matmul(rows, rows, transpose_a=True)
    posterior = tf.concat([parts.symbols, _root(parts.inverse)], axis=-1)
    return SceneStatistics(
        parts.nll, score, information, tf.reduce_sum(gradient, axis=0), _arriving(observation, parts, posterior)
    )
