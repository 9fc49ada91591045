"""Search for reflected paths by the symbols of their source.

The posterior mean of the symbols of source k is u_lk = s_lk^H S_l^-1 y_l. A path c d_l with d_l = Phi_l a(psi) and the
symbols of source k changes the NLL by 2 Re(c^* g) + |c|^2 f, to second order, with
    g = sum_l G(d_l, s_lk) - G(d_l, y_l) u_lk^*,    f = sum_l G(s_lk, s_lk) G(d_l, d_l),    G(x, y) = x^H S_l^-1 y.
Its log-likelihood ratio is |g|^2 / f, which is exponentially distributed with unit mean if there is no such path. Over
all directions, g is one product of the grid with one vector per source. The symbols act as pilots and so reveal weak
paths that a search for independent sources would miss. The grid covers the half space in front of the surface, because
the images of sources in walls may lie outside the field of view. The walls are unknown.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.covariance_estimator.likelihood import PARAMETERS_PER_ATOM, Atoms
from models.covariance_estimator.off_grid_refinement import is_grid_peak
from models.multipath.paths import PARAMETERS_PER_PATH, Paths, Unmixed
from models.physics.geometry import RISArray
from models.physics.observation import Observation
from models.physics.steering import steering_jacobian, steering_vectors

_INVERSE_RANGES = (0.03, 0.12, 0.3)  # 1/m
_GRAZING = 0.97  # sine of the largest angle from boresight
_POLISH_STEPS = 2
_WIDEST_ANGLE = 1.5  # radians
_LEAST_INVERSE_RANGE = 1e-3  # 1/m
_LEAST_FREE_SHARE = 0.3
MAX_MOVE = 0.05
"""Largest step of the direction (radians) and of the inverse range (1/m) of a path."""
BEYOND = 0.9
"""Largest ratio of the inverse range of a reflected path to that of its source. A reflected path is longer."""


class PathGrid:
    """Directions half a beam width apart over the half space in front of the surface, at a few inverse ranges.

    Attributes:
      points: [G, 3] float32: azimuth, elevation (radians), inverse range (1/m).
      vectors: steering vectors, [G, N] complex64.
      shape: number of points over (horizontal sine, vertical sine, inverse range).
      inside: which points are real directions, [G] bool.
    """

    def __init__(self, array: RISArray) -> None:
        self.array = array
        spacing = 0.5 * array.wavelength_m / np.array(array.aperture_m)
        axes = [np.linspace(-_GRAZING, _GRAZING, int(np.ceil(2.0 * _GRAZING / step)) + 1) for step in spacing]
        y, z, inverse_range = np.meshgrid(*axes, _INVERSE_RANGES, indexing="ij")
        self.shape = y.shape
        self.inside = (y**2 + z**2 <= _GRAZING**2).ravel()
        elevation = np.arcsin(z)
        azimuth = np.arcsin(np.clip(y / np.cos(elevation), -_GRAZING, _GRAZING))
        points = [azimuth, elevation, inverse_range]
        self.points = np.stack([axis.ravel() for axis in points], axis=-1).astype(np.float32)
        azimuth, elevation, inverse_range = map(tf.constant, self.points.T)
        self.vectors = steering_vectors(azimuth, elevation, inverse_range, array).numpy()


class FoundPaths(NamedTuple):
    """Candidate paths [B, C], all marked active, and their log-likelihood ratios [B, C] float32, descending."""

    paths: Paths
    llr: tf.Tensor


def path_scores(observation: Observation, unmixed: Unmixed) -> tf.Tensor:
    """w_k of every source, for which g = a(psi)^H w_k: [B, N, A] complex64."""
    values = unmixed.sources - unmixed.snapshots[..., None] * tf.math.conj(unmixed.symbols)[:, :, None]
    return observation.back_project_all(values)


def mismatch_ratio(
    observation: Observation, atoms: Atoms, paths: Paths, unmixed: Unmixed, scores: tf.Tensor, array: RISArray
) -> tf.Tensor:
    """Variance of the score with respect to the element phases, relative to that from noise alone: [B, A] float32.

    The derivative of the NLL with respect to the phase of element n in a source's column a is 2 Im(a_n^* w_n), with w_k
    as in `path_scores`. If the model is correct, these derivatives have the variance f |a_n|^2 / N with f = 2 sum_l
    G(s_lk, s_lk) tr(Phi_l^H S_l^-1 Phi_l), and the ratio is one with standard deviation (2 / N)^(1/2). Any error of the
    column increases it: reflections too weak to find, elements that are displaced, dead or out of phase, a channel
    error. The position only affects the phases. The variances of its score and of its estimate therefore grow by the
    same ratio: the sandwich covariance F^-1 V F^-1 (White 1982) is this ratio times F^-1. The ratio is corrected for
    the fitted parameters of the source and half of those of each path.
    """
    vectors = atoms.steering(array)
    turns = tf.math.imag(tf.math.conj(vectors) * scores)
    score = tf.reduce_sum(turns**2, axis=1) / tf.reduce_sum(tf.abs(vectors) ** 2, axis=1)
    inverse = tf.matmul(unmixed.root, unmixed.root, adjoint_a=True)
    gram = tf.matmul(observation.channel, observation.channel, adjoint_b=True)
    energy = tf.reduce_sum(tf.math.real(inverse * tf.math.conj(gram)[:, None]), axis=(2, 3))
    energy *= tf.reduce_mean(tf.abs(observation.ris_codes) ** 2, axis=-1)  # tr(Phi^H S^-1 Phi), equal moduli
    expected = 0.5 / array.num_elements * tf.einsum("bl,bla->ba", energy, unmixed.certainty)
    fitted = PARAMETERS_PER_ATOM + 0.5 * PARAMETERS_PER_PATH * tf.reduce_sum(
        paths.of_source(atoms.active.shape[-1]), axis=1
    )
    free = tf.maximum(1.0 - fitted / array.num_elements, _LEAST_FREE_SHARE)
    return score / (expected * free + 1e-9)


def power_map(scores: tf.Tensor, atoms: Atoms, grid: PathGrid) -> tf.Tensor:
    """|g|^2 of every source and direction, zero where a reflection is impossible: [B, A, G] float32."""
    active = tf.where(atoms.active)
    rows = tf.gather_nd(tf.linalg.matrix_transpose(scores), active)
    vectors = np.concatenate([grid.vectors.real, grid.vectors.imag], axis=-1).T  # [2N, G]
    real, imag = tf.math.real(rows), tf.math.imag(rows)
    embedded = tf.concat([tf.concat([real, imag], -1), tf.concat([imag, -real], -1)], axis=0)
    parts = tf.reduce_sum(tf.reshape(tf.matmul(embedded, vectors), [2, -1, vectors.shape[-1]]) ** 2, axis=0)
    farther = grid.points[:, 2] <= BEYOND * tf.gather_nd(atoms.parameters[..., 2:3], active)
    shape = tf.concat([tf.shape(atoms.active), [vectors.shape[-1]]], axis=0)
    return tf.scatter_nd(active, tf.where(grid.inside & farther, parts, 0.0), tf.cast(shape, active.dtype))


def may_reflect(
    observation: Observation, atoms: Atoms, unmixed: Unmixed, scores: tf.Tensor, grid: PathGrid, llr: float
) -> tf.Tensor:
    """Fast screening: True if any path may exceed this log-likelihood ratio with a mean channel, [B] bool."""
    power = tf.reduce_max(power_map(scores, atoms, grid), axis=-1)
    num_antennas = tf.cast(observation.channel.shape[1], tf.float32)
    information = tf.reduce_sum(unmixed.certainty, axis=1) * num_antennas / atoms.noise_power[:, None]
    return tf.reduce_any(power > llr * information, axis=-1)


def curvature(vectors: tf.Tensor, slopes: tf.Tensor) -> tf.Tensor:
    """Re a'^H (I - a a^H / |a|^2) a', [..., 3, 3] float32, from a [..., N] and its derivatives a' [..., 3, N]."""
    norm = tf.cast(tf.sqrt(tf.reduce_sum(tf.abs(vectors) ** 2, axis=-1)), tf.complex64)
    along = tf.linalg.matvec(slopes, tf.math.conj(vectors / norm[..., None]))[..., None]
    return tf.math.real(tf.matmul(slopes, slopes, adjoint_b=True) - tf.matmul(along, along, adjoint_b=True))


def within_half_space(points: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Clips points [..., 3] to the half space in front of the surface and to inverse ranges up to limit [...]."""
    angles = tf.clip_by_value(points[..., :2], -_WIDEST_ANGLE, _WIDEST_ANGLE)
    inverse_range = tf.clip_by_value(points[..., 2], _LEAST_INVERSE_RANGE, limit)
    return tf.concat([angles, inverse_range[..., None]], axis=-1)


def _polish(points: tf.Tensor, scores: tf.Tensor, limit: tf.Tensor, array: RISArray) -> tf.Tensor:
    """Maximises |a(psi)^H w|^2 from each point by Gauss-Newton: points [B, C, 3], scores w [B, C, N], limit [B, C]."""
    for _ in range(_POLISH_STEPS):
        azimuth, elevation, inverse_range = tf.unstack(points, axis=-1)
        vectors, slopes = steering_jacobian(azimuth, elevation, inverse_range, array)
        weights = tf.math.conj(scores)[..., None]
        value = tf.matmul(vectors[..., None, :], weights)[..., 0, 0]  # g^*
        slope = tf.matmul(slopes, weights)[..., 0]
        gradient = tf.math.real(slope * tf.math.conj(value)[..., None])
        norm2 = tf.reduce_sum(tf.abs(vectors) ** 2, axis=-1)
        hessian = curvature(vectors, slopes) * (tf.abs(value) ** 2 / norm2)[..., None, None]
        hessian = tf.linalg.set_diag(hessian, 1.05 * tf.linalg.diag_part(hessian) + 1e-12)
        step = tf.linalg.cholesky_solve(tf.linalg.cholesky(hessian), gradient[..., None])[..., 0]
        points = within_half_space(points + tf.clip_by_value(step, -MAX_MOVE, MAX_MOVE), limit)
    return points


def search_paths(
    observation: Observation,
    atoms: Atoms,
    unmixed: Unmixed,
    scores: tf.Tensor,
    grid: PathGrid,
    per_source: int,
    count: int,
) -> FoundPaths:
    """Finds the paths with the largest log-likelihood ratios, at most `per_source` per source and `count` per scene.

    `unmixed` and `scores` are the results of `unmix` and `path_scores`.
    """
    num_atoms = atoms.active.shape[-1]
    volume = tf.reshape(power_map(scores, atoms, grid), [-1, *grid.shape])
    peaks = tf.reshape(tf.where(is_grid_peak(volume), volume, 0.0), [-1, num_atoms, grid.points.shape[0]])
    index = tf.reshape(tf.math.top_k(peaks, per_source).indices, [-1, num_atoms * per_source])
    source = tf.repeat(tf.range(num_atoms), per_source)
    limit = BEYOND * tf.gather(atoms.parameters[..., 2], source, axis=1)
    own_scores = tf.gather(tf.linalg.matrix_transpose(scores), source, axis=1)  # [B, C, N]
    points = _polish(tf.gather(grid.points, index), own_scores, limit, grid.array)
    azimuth, elevation, inverse_range = tf.unstack(points, axis=-1)
    vectors = steering_vectors(azimuth, elevation, inverse_range, grid.array)
    g = tf.reduce_sum(tf.math.conj(vectors) * own_scores, axis=-1)
    response = tf.matmul(unmixed.root, observation.respond(tf.linalg.matrix_transpose(vectors)))
    energy = tf.reduce_sum(tf.abs(response) ** 2, axis=2)
    information = tf.reduce_sum(energy * tf.gather(unmixed.certainty, source, axis=2), axis=1) + 1e-9
    llr = tf.where(tf.gather(atoms.active, source, axis=1), tf.abs(g) ** 2 / information, 0.0)
    log_power = 2.0 * tf.math.log(tf.abs(g) / information + 1e-9)
    sources = tf.broadcast_to(source, tf.shape(llr))
    found = Paths(points, log_power, tf.math.angle(-g), sources, tf.ones_like(llr, tf.bool))
    llr, best = tf.math.top_k(llr, min(count, num_atoms * per_source))
    return FoundPaths(Paths(*(tf.gather(value, best, batch_dims=1) for value in found)), llr)


def coherent_pair(
    atoms: Atoms, paths: Paths, unmixed: Unmixed, scores: tf.Tensor, array: RISArray
) -> tuple[tf.Tensor, Paths, tf.Tensor]:
    """The pair of atoms per scene with the most similar symbols; the weaker atom j becomes a path of the stronger one.

    Returns j [B] int32, the path [B, 1], and the log-likelihood ratio [B] float32 of adding a part of the column of
    atom j to source k; zero if no pair can be one source. With independent symbols it is exponentially distributed with
    unit mean. With equal symbols it is near the number of snapshots, at high SNR.
    """
    num_atoms = atoms.active.shape[-1]
    columns = atoms.steering(array) * tf.cast(tf.sqrt(atoms.powers()), tf.complex64)[:, None]
    g = tf.matmul(columns, scores, adjoint_a=True)  # [B, j, k]
    information = tf.matmul(unmixed.certainty, unmixed.certainty, transpose_a=True)  # of atoms without further paths
    llr = tf.abs(g) ** 2 / (information + 1e-9)
    log_power = atoms.parameters[..., 3]
    alone = tf.reduce_sum(paths.of_source(num_atoms), axis=1) == 0.0
    weaker = (log_power[:, :, None] < log_power[:, None, :]) & (atoms.active & alone)[:, :, None]
    llr = tf.where(weaker & atoms.active[:, None, :], llr, 0.0)
    flat = tf.reshape(llr, [-1, num_atoms**2])
    best = tf.argmax(flat, axis=-1, output_type=tf.int32)
    weak, strong = best // num_atoms, best % num_atoms
    azimuth, elevation, inverse_range, power = tf.unstack(tf.gather(atoms.parameters, weak, batch_dims=1), axis=-1)
    inverse_range = tf.minimum(inverse_range, BEYOND * tf.gather(atoms.parameters[..., 2], strong, batch_dims=1))
    phase = tf.math.angle(-tf.gather(tf.reshape(g, [-1, num_atoms**2]), best, batch_dims=1))
    point = tf.stack([azimuth, elevation, inverse_range], axis=-1)
    path = Paths(*(value[:, None] for value in (point, power, phase, strong, tf.ones_like(weak, tf.bool))))
    return weak, path, tf.reduce_max(flat, axis=-1)
