"""Where else a source's symbols arrive from.

The symbols of a source are known after the fact: u_lk = s_lk^H S_l^-1 y_l is their posterior mean. A path c d_l with
d_l = Phi_l a(psi) and the symbols of source k changes the NLL by 2 Re(c^* g) + |c|^2 f, to second order, with
    g = sum_l G(d_l, s_lk) - G(d_l, y_l) u_lk^*,    f = sum_l G(s_lk, s_lk) G(d_l, d_l),    G(x, y) = x^H S_l^-1 y,
so that it gains |g|^2 / f, exponential with unit mean where there is no such path. Over all directions g is one product
of the grid with one vector a source: the symbols work as pilots, and show weak paths that no search for a source of its
own would see. The grid covers the half space before the surface, since walls throw images of sources out of the field
of view; nothing is known of the walls.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.covariance_estimator.continuous import is_grid_peak
from models.covariance_estimator.likelihood import Atoms
from models.covariance_estimator.paths import Paths, Unmixed
from models.physics.geometry import RISArray
from models.physics.observation import Observation
from models.physics.steering import steering_jacobian, steering_vectors

_INVERSE_RANGES = (0.03, 0.12, 0.3)  # 1/m
_GRAZING = 0.97  # largest sine of the angle from boresight
_POLISH_STEPS = 2
BEYOND = 0.9
"""A reflected path is longer than the direct one: the inverse range of an image over its source's is at most this."""


class PathGrid:
    """Directions half a beam apart over the half space before the surface, at a few curvatures of the wavefront.

    points: [G, 3] float32, azimuth, elevation (radians), inverse range (1/m). vectors: [G, N] complex64.
    shape: of the grid over (horizontal sine, vertical sine, inverse range). inside: [G] bool, directions that exist.
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
    """Candidates, strongest first: paths [B, C], all said to be active, and the log-likelihood each gains [B, C]."""

    paths: Paths
    gains: tf.Tensor


def path_scores(observation: Observation, unmixed: Unmixed) -> tf.Tensor:
    """w_k with g = a(psi)^H w_k for every source: [B, N, A] complex64."""
    values = unmixed.sources - unmixed.snapshots[..., None] * tf.math.conj(unmixed.symbols)[:, :, None]
    return observation.back_project_all(values)


def mismatch_ratio(observation: Observation, unmixed: Unmixed) -> tf.Tensor:
    """What arrives with a source's symbols and is not in its column, over what noise alone would show, [B, A] float32.

    |w_k|^2 / sum_l G(s_lk, s_lk) tr(Phi_l^H S_l^-1 Phi_l), w_k as in `path_scores`: one in the mean where the model
    holds. A column that is wrong by some delta, of any cause (reflections too weak to find, phases, positions and
    failures of elements, an error of the channel) adds to it. If delta has no preferred direction, the score of the
    source's parameters has that many times the variance that the Fisher information says, and so has their estimate:
    the sandwich covariance F^-1 V F^-1 (White 1982) is this ratio times F^-1.
    """
    score = tf.reduce_sum(tf.abs(path_scores(observation, unmixed)) ** 2, axis=1)
    inverse = tf.matmul(unmixed.root, unmixed.root, adjoint_a=True)
    gram = tf.matmul(observation.channel, observation.channel, adjoint_b=True)
    energy = tf.reduce_sum(tf.math.real(inverse * tf.math.conj(gram)[:, None]), axis=(2, 3))  # of codes of unit modulus
    energy *= tf.reduce_mean(tf.abs(observation.ris_codes) ** 2, axis=-1)
    return score / (tf.einsum("bl,bla->ba", energy, unmixed.certainty) + 1e-9)


def power_map(scores: tf.Tensor, atoms: Atoms, grid: PathGrid) -> tf.Tensor:
    """|g|^2 of every source, zero where no reflection of it can come from: [B, A, G] float32."""
    rows = tf.reshape(tf.linalg.matrix_transpose(scores), [-1, grid.array.num_elements])
    vectors = np.concatenate([grid.vectors.real, grid.vectors.imag], axis=-1).T  # [2N, G]
    real, imag = tf.math.real(rows), tf.math.imag(rows)
    embedded = tf.concat([tf.concat([real, imag], -1), tf.concat([imag, -real], -1)], axis=0)
    parts = tf.reduce_sum(tf.reshape(tf.matmul(embedded, vectors), [2, -1, vectors.shape[-1]]) ** 2, axis=0)
    power = tf.reshape(parts, [-1, atoms.active.shape[-1], vectors.shape[-1]])
    farther = grid.points[:, 2] <= BEYOND * atoms.parameters[..., 2:3]
    return tf.where(grid.inside & farther & atoms.active[..., None], power, 0.0)


def may_reflect(observation: Observation, atoms: Atoms, unmixed: Unmixed, grid: PathGrid, gain: float) -> tf.Tensor:
    """Whether any path of a scene might gain that much, by a mean channel: [B] bool, at the cost of a product."""
    power = tf.reduce_max(power_map(path_scores(observation, unmixed), atoms, grid), axis=-1)
    num_antennas = tf.cast(observation.channel.shape[1], tf.float32)
    information = tf.reduce_sum(unmixed.certainty, axis=1) * num_antennas / atoms.noise_power[:, None]
    return tf.reduce_any(power > gain * information, axis=-1)


def _polish(points: tf.Tensor, scores: tf.Tensor, limit: tf.Tensor, array: RISArray) -> tf.Tensor:
    """Climbs |a(psi)^H w|^2 from each point by Gauss-Newton: points [B, C, 3], scores w [B, C, N], limit [B, C]."""
    for _ in range(_POLISH_STEPS):
        azimuth, elevation, inverse_range = tf.unstack(points, axis=-1)
        vectors, slopes = steering_jacobian(azimuth, elevation, inverse_range, array)
        weights = tf.math.conj(scores)[..., None]
        value = tf.matmul(vectors[..., None, :], weights)[..., 0, 0]  # g^*
        slope = tf.matmul(slopes, weights)[..., 0]
        gradient = tf.math.real(slope * tf.math.conj(value)[..., None])
        norm2 = tf.reduce_sum(tf.abs(vectors) ** 2, axis=-1)[..., None, None]
        along = tf.linalg.matvec(slopes, tf.math.conj(vectors))[..., None]
        along = tf.matmul(along, along, adjoint_b=True) / tf.cast(norm2, tf.complex64)
        across = tf.matmul(slopes, slopes, adjoint_b=True) - along
        hessian = tf.math.real(across) * tf.abs(value)[..., None, None] ** 2 / norm2
        hessian = tf.linalg.set_diag(hessian, 1.05 * tf.linalg.diag_part(hessian) + 1e-12)
        step = tf.linalg.cholesky_solve(tf.linalg.cholesky(hessian), gradient[..., None])[..., 0]
        azimuth, elevation, inverse_range = tf.unstack(points + tf.clip_by_value(step, -0.05, 0.05), axis=-1)
        points = tf.stack(
            [
                tf.clip_by_value(azimuth, -1.5, 1.5),
                tf.clip_by_value(elevation, -1.5, 1.5),
                tf.clip_by_value(inverse_range, 1e-3, limit),
            ],
            axis=-1,
        )
    return points


def search_paths(
    observation: Observation, atoms: Atoms, unmixed: Unmixed, grid: PathGrid, per_source: int, count: int
) -> FoundPaths:
    """The paths that gain most, at most `per_source` a source and `count` a scene."""
    num_atoms = atoms.active.shape[-1]
    scores = path_scores(observation, unmixed)
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
    gains = tf.where(tf.gather(atoms.active, source, axis=1), tf.abs(g) ** 2 / information, 0.0)
    log_power = 2.0 * tf.math.log(tf.abs(g) / information + 1e-9)
    sources = tf.broadcast_to(source, tf.shape(gains))
    found = Paths(points, log_power, tf.math.angle(-g), sources, tf.ones_like(gains, tf.bool))
    gains, best = tf.math.top_k(gains, count)
    return FoundPaths(Paths(*(tf.gather(value, best, batch_dims=1) for value in found)), gains)


def coherent_pair(
    observation: Observation, atoms: Atoms, paths: Paths, unmixed: Unmixed, array: RISArray
) -> tuple[tf.Tensor, Paths, tf.Tensor]:
    """The two atoms of each scene whose symbols agree most, the weaker as a path of the stronger.

    Where their symbols are independent, the gain of giving source k a part of atom j's column is exponential with unit
    mean; where they are the same, it is near the number of snapshots at good SNR.

    Returns:
      j [B] int32, the path [B, 1], and the gain [B] float32: zero where no two atoms can be one source.
    """
    num_atoms = atoms.active.shape[-1]
    columns = atoms.steering(array) * tf.cast(tf.sqrt(atoms.powers()), tf.complex64)[:, None]
    g = tf.matmul(columns, path_scores(observation, unmixed), adjoint_a=True)  # [B, j, k]
    information = tf.matmul(unmixed.certainty, unmixed.certainty, transpose_a=True)  # of atoms without further paths
    gains = tf.abs(g) ** 2 / (information + 1e-9)
    log_power = atoms.parameters[..., 3]
    alone = tf.reduce_sum(paths.of_source(num_atoms), axis=1) == 0.0
    weaker = (log_power[:, :, None] < log_power[:, None, :]) & (atoms.active & alone)[:, :, None]
    gains = tf.where(weaker & atoms.active[:, None, :], gains, 0.0)
    flat = tf.reshape(gains, [-1, num_atoms**2])
    best = tf.argmax(flat, axis=-1, output_type=tf.int32)
    weak, strong = best // num_atoms, best % num_atoms
    azimuth, elevation, inverse_range, power = tf.unstack(tf.gather(atoms.parameters, weak, batch_dims=1), axis=-1)
    inverse_range = tf.minimum(inverse_range, BEYOND * tf.gather(atoms.parameters[..., 2], strong, batch_dims=1))
    phase = tf.math.angle(-tf.gather(tf.reshape(g, [-1, num_atoms**2]), best, batch_dims=1))
    point = tf.stack([azimuth, elevation, inverse_range], axis=-1)
    path = Paths(*(value[:, None] for value in (point, power, phase, strong, tf.ones_like(weak, tf.bool))))
    return weak, path, tf.reduce_max(flat, axis=-1)
