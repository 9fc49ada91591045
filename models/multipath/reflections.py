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

from models.covariance_estimator.grid_peaks import is_grid_peak
from models.covariance_estimator.likelihood import Evaluation
from models.covariance_estimator.off_grid_refinement import BEYOND, longer_than_direct
from models.covariance_estimator.paths import Paths
from models.multipath.config import MultipathConfig
from models.physics.geometry import FieldOfView, RISArray
from models.physics.observation import Observation
from models.physics.steering import steering_vectors

_INVERSE_RANGES = (0.03, 0.12, 0.3)  # 1/m
_GRAZING = 0.97  # sine of the largest angle from boresight
_SCREENING = 0.6
"""Threshold of the screening relative to `min_llr`."""
_AT_GRID = 0.8
"""Log-likelihood ratio of a path at the nearest grid point, relative to that at its place: at least about this."""


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
    """Candidate paths, all lists of length C, in order of falling log-likelihood ratio.

    parameters: as in `Paths`, [C, 5] float32. source: their sources, [C] int32. llr: log-likelihood ratio, [C] float32.
    """

    parameters: tf.Tensor
    source: tf.Tensor
    llr: tf.Tensor


def path_scores(observation: Observation, paths: Paths, evaluation: Evaluation) -> tf.Tensor:
    """w_k of every source, for which g = a(psi)^H w_k: [A, N] complex64."""
    solved = tf.matmul(evaluation.inverse_c, evaluation.sources)  # S_l^-1 s_lk
    residual = evaluation.residual / tf.cast(paths.noise_power, tf.complex64)  # S_l^-1 y_l
    values = solved - residual[:, None] * evaluation.symbols_c[..., None]
    return observation.back_project_sum(values)


def power_map(scores: tf.Tensor, inverse_range: tf.Tensor, grid: PathGrid) -> tf.Tensor:
    """|g|^2 of every source and direction, zero where a reflection is impossible: [A, G] float32.

    `scores` [A, N] are those of `path_scores`; inverse_range [A] float32, 1/m, is that of the sources.
    """
    vectors = np.concatenate([grid.vectors.real, grid.vectors.imag], axis=-1).T  # [2N, G]
    real, imag = tf.math.real(scores), tf.math.imag(scores)
    embedded = tf.concat([tf.concat([real, imag], -1), tf.concat([imag, -real], -1)], axis=0)
    parts = tf.reduce_sum(tf.reshape(tf.matmul(embedded, vectors), [2, -1, vectors.shape[-1]]) ** 2, axis=0)
    farther = grid.points[:, 2] <= BEYOND * inverse_range[:, None]
    return tf.where(grid.inside & farther, parts, 0.0)


def with_found_paths(
    observation: Observation,
    paths: Paths,
    evaluation: Evaluation,
    scores: tf.Tensor,
    grid: PathGrid,
    config: MultipathConfig,
) -> tuple[Paths, tf.Tensor]:
    """Adds the grid points whose log-likelihood ratio may exceed the threshold, a few per source and a few per scene.

    Also returns whether there are any, [] bool. A screening with a mean channel ends the search of most scenes early.
    """
    num_sources = paths.num_sources
    power = power_map(scores, paths.parameters[:num_sources, 2], grid)
    certainty = evaluation.certainty(paths.noise_power)
    mean_energy = tf.cast(observation.channel.shape[0], tf.float32) / paths.noise_power
    mean_llr = tf.reduce_max(power, axis=-1) / (tf.reduce_sum(certainty, axis=0) * mean_energy)
    may_reflect = tf.reduce_any(mean_llr > _SCREENING * config.min_llr)
    found = tf.cond(
        may_reflect,
        lambda: _best_points(observation, paths, evaluation, scores, power, grid, config),
        lambda: FoundPaths(paths.parameters[:0], paths.source[:0], tf.zeros([0])),
    )
    free = config.max_paths - (paths.count - num_sources)
    number = tf.math.count_nonzero(found.llr > _AT_GRID * config.min_llr, dtype=tf.int32)
    number = tf.minimum(number, free)
    parameters = tf.concat([paths.parameters, found.parameters[:number]], axis=0)
    source = tf.concat([paths.source, found.source[:number]], axis=0)
    return Paths(parameters, source, paths.noise_power), number > 0


def _best_points(
    observation: Observation,
    paths: Paths,
    evaluation: Evaluation,
    scores: tf.Tensor,
    power: tf.Tensor,
    grid: PathGrid,
    config: MultipathConfig,
) -> FoundPaths:
    """The maxima of the power map, `power` [A, G], with the largest log-likelihood ratios."""
    num_sources, per_source = paths.num_sources, config.paths_per_source
    volume = tf.reshape(power, [-1, *grid.shape])
    peaks = tf.reshape(tf.where(is_grid_peak(volume), volume, 0.0), [-1, grid.points.shape[0]])
    index = tf.reshape(tf.math.top_k(peaks, per_source).indices, [-1])
    source = tf.repeat(tf.range(num_sources), per_source)
    rows = tf.gather(grid.vectors, index)
    g = tf.reduce_sum(tf.math.conj(rows) * tf.gather(scores, source), axis=-1)
    energy = evaluation.energy(observation.respond(rows), paths.noise_power)  # [L, C]
    certainty = tf.gather(evaluation.certainty(paths.noise_power), source, axis=1)
    information = tf.reduce_sum(energy * certainty, axis=0) + 1e-9
    amplitude = -g / tf.cast(information, g.dtype)
    log_power, phase = 2.0 * tf.math.log(tf.abs(amplitude) + 1e-9), tf.math.angle(amplitude)
    parameters = tf.concat([tf.gather(grid.points, index), log_power[:, None], phase[:, None]], axis=-1)
    llr = tf.abs(g) ** 2 / information
    llr, best = tf.math.top_k(llr, tf.minimum(config.paths_per_round, tf.size(llr)))
    return FoundPaths(tf.gather(parameters, best), tf.gather(source, best), llr)


def with_coherent_pair(paths: Paths, evaluation: Evaluation) -> tuple[Paths, tf.Tensor]:
    """Makes the weaker of the two sources with the most similar symbols a path of the stronger one.

    Also returns the log-likelihood ratio |g|^2 / f, [] float32, of adding a part of the column of the weaker source j
    to the stronger source k. Here g = sum_l G(s_lj, s_lk) - G(s_lj, y) u_lk^* follows from the evaluation. With
    independent symbols the ratio is exponentially distributed with unit mean. With equal symbols it is near the number
    of snapshots, at high SNR. It is zero if no pair can be one source. The weaker source must not have reflected paths.
    """
    num_sources = paths.num_sources
    symbols_c, certainty = evaluation.symbols_c, evaluation.certainty(paths.noise_power)
    g_c = -tf.cast(paths.noise_power, tf.complex64) * tf.reduce_sum(evaluation.inverse_c, axis=0)
    g_c -= tf.matmul(symbols_c, tf.math.conj(symbols_c), transpose_a=True)
    information = tf.matmul(certainty, certainty, transpose_a=True) + 1e-9
    log_power, alone = paths.parameters[:num_sources, 3], tf.reduce_sum(paths.membership(), axis=0) == 0.0
    weaker = (log_power[:, None] < log_power) & alone[:, None]
    llr = tf.reshape(tf.where(weaker, tf.abs(g_c) ** 2 / information, 0.0), [-1])
    best = tf.argmax(llr, output_type=tf.int32)
    weak, strong = best // num_sources, best % num_sources
    number = tf.range(paths.count)
    phase = tf.where(number == weak, -tf.math.angle(-tf.reshape(g_c, [-1])[best]), paths.parameters[:, 4])
    parameters = tf.concat([paths.parameters[:, :4], phase[:, None]], axis=-1)
    order = tf.concat([tf.boolean_mask(number, number != weak), weak[None]], axis=0)
    source = tf.gather(tf.where(number == weak, strong, paths.source), order)
    source = tf.gather(tf.math.invert_permutation(order), source)
    return Paths(tf.gather(parameters, order), source, paths.noise_power), llr[best]


def led_by_strongest(paths: Paths, view: FieldOfView) -> Paths:
    """Makes the strongest path of each source its direct path, if it lies in the field of view.

    A source may have been found by a reflection, and its direct path as a further path. Reflected paths are made
    longer than the direct one.
    """
    parameters, source, noise_power = paths
    num_sources, number = paths.num_sources, tf.range(paths.count)
    azimuth, elevation, inverse_range, log_power, _ = tf.unstack(parameters, axis=-1)
    inside = (inverse_range >= view.inverse_range[0]) | (source == number)
    for angle, (low, high) in ((azimuth, view.azimuth), (elevation, view.elevation)):
        inside &= ((angle >= low) & (angle <= high)) | (source == number)
    may_lead = (source[:, None] == number[:num_sources]) & inside[:, None]
    power = tf.where(may_lead, log_power[:, None], -np.float32(np.inf))
    leader = tf.argmax(power, axis=0, output_type=tf.int32)
    order = tf.tensor_scatter_nd_update(number, leader[:, None], number[:num_sources])
    parameters = tf.gather(parameters, tf.concat([leader, order[num_sources:]], axis=0))
    phase = parameters[:, 4] - tf.gather(parameters[:, 4], source)
    parameters = tf.concat([parameters[:, :4], phase[:, None]], axis=-1)
    return Paths(longer_than_direct(parameters, source), source, noise_power)
