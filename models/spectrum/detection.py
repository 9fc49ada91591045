"""Peaks of the MVDR spectrum of R_eff: grid maxima, off-grid polish, merging of duplicates."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.covariance_estimator.grid_peaks import grid_peaks
from models.physics.covariance import LowRankCovariance
from models.physics.steering import unit_norm_jacobian
from models.spectrum.config import DetectionConfig
from models.spectrum.mvdr import MVDR, white_factor

_CONVERGED = 1e-3  # smallest step, relative to the largest one
_LONGEST_MOVE = 0.1  # largest step, radians and 1/m, at the default surface's resolution


class Peaks(NamedTuple):
    """Peaks of the spectrum, strongest first.

    points: [B, T, 3] float32: azimuth, elevation (radians), inverse range (1/m).
    height: P at the peak, [B, T] float32.
    valid: [B, T] bool.
    """

    points: tf.Tensor
    height: tf.Tensor
    valid: tf.Tensor


def _local_form(points: tf.Tensor, factor: tf.Tensor, mvdr: MVDR) -> tf.Tensor:
    """X^H (I - F F^H) X = eps X^H R^-1 X with X = [b, db/dpsi], b = a / |a|, at each point: [B, T, 4, 4] complex64."""
    vectors, slopes = unit_norm_jacobian(points[..., 0], points[..., 1], points[..., 2], mvdr.array)
    rows = tf.math.conj(tf.concat([vectors[..., None, :], slopes], axis=-2))  # [B, T, 4, N], X^H
    explained = tf.matmul(rows, factor[:, None])
    return tf.matmul(rows, rows, adjoint_b=True) - tf.matmul(explained, explained, adjoint_b=True)


def polish_peaks(
    points: tf.Tensor, valid: tf.Tensor, covariance: LowRankCovariance, mvdr: MVDR, steps: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Minimises b^H R^-1 b = |R^-1/2 b|^2, b = a / |a|, from each point by damped Gauss-Newton.

    The points are [B, T, 3] float32: azimuth, elevation (radians), inverse range (1/m). Takes at most `steps` steps,
    until the valid points [B, T] bool stay. Returns points inside the field of view, and P at them [B, T] float32.
    """
    factor = white_factor(covariance)
    view = mvdr.field_of_view
    limits = np.array([view.azimuth, view.elevation, view.inverse_range], np.float32)
    longest = (_LONGEST_MOVE * mvdr.array.relative_resolution).astype(np.float32)

    def body(step, trial, points, form, damping):
        found = _local_form(trial, factor, mvdr)
        accept = tf.math.real(found[..., 0, 0]) < tf.math.real(form[..., 0, 0])
        points = tf.where(accept[..., None], trial, points)
        form = tf.where(accept[..., None, None], found, form)
        damping = tf.clip_by_value(damping * tf.where(accept, 0.3, 6.0), 1e-4, 1e4)
        gradient, hessian = tf.math.real(form[..., 0, 1:]), tf.math.real(form[..., 1:, 1:])
        loaded = tf.linalg.diag_part(hessian) * (1.0 + damping[..., None]) + 1e-9
        chol = tf.linalg.cholesky(tf.linalg.set_diag(hessian, loaded))
        move = -tf.linalg.cholesky_solve(chol, gradient[..., None])[..., 0]
        trial = tf.clip_by_value(points + tf.clip_by_value(move, -longest, longest), limits[:, 0], limits[:, 1])
        return step + 1, trial, points, form, damping

    def unfinished(step, trial, points, *_):
        moves = tf.reduce_any((tf.abs(trial - points) > _CONVERGED * longest) & valid[..., None]) | (step == 0)
        return (step <= steps) & moves

    shape = tf.shape(points)[:2]
    worst = tf.fill(tf.concat([shape, [4, 4]], axis=0), tf.constant(np.inf, tf.complex64))
    start = (tf.constant(0), points, points, worst, tf.fill(shape, 0.1 / 0.3))  # the first evaluation is accepted
    _, _, points, form, _ = tf.while_loop(unfinished, body, start)
    cost = tf.maximum(tf.math.real(form[..., 0, 0]), 1e-7)
    return points, covariance.floor[:, None] / cost


class Starts(NamedTuple):
    """Additional initial points of the polish, such as the atoms of R_pred.

    points: [B, S, 3] float32: azimuth, elevation (radians), inverse range (1/m).
    valid: [B, S] bool.
    """

    points: tf.Tensor
    valid: tf.Tensor


def find_peaks(
    covariance: LowRankCovariance,
    mvdr: MVDR,
    config: DetectionConfig,
    starts: Starts | None = None,
    spectrum: tf.Tensor | None = None,
    cell_size: np.ndarray | None = None,
) -> Peaks:
    """Finds the peaks of the MVDR spectrum of R_eff: T = config.candidates + S per scene, strongest first.

    Two sources closer than the grid spacing share a grid maximum. `starts` allows both peaks to be found. `spectrum` is
    mvdr(covariance), if already computed. `cell_size` [3] is the unit of `config.merge_cells`, by default a cell of the
    spectrum's grid.
    """
    dictionary = mvdr.dictionary
    spectrum = mvdr(covariance) if spectrum is None else spectrum
    indices, values = grid_peaks(tf.reshape(spectrum, [-1, mvdr.grid.size]), dictionary, config.candidates)
    axes = (dictionary.azimuth, dictionary.elevation, dictionary.inverse_range)
    points = tf.stack([tf.gather(axis, indices) for axis in axes], axis=-1)
    valid = values > 0
    if starts is not None:
        near = tf.abs(dictionary.in_cells(points)[:, :, None] - dictionary.in_cells(starts.points)[:, None])
        near = tf.reduce_all(near < 1.0, axis=-1) & starts.valid[:, None]  # would only lead to the start again
        valid &= ~tf.reduce_any(near, axis=-1)
        points, valid = tf.concat([starts.points, points], axis=1), tf.concat([starts.valid, valid], axis=1)
    points, height = polish_peaks(points, valid, covariance, mvdr, config.polish_steps)
    height = tf.where(valid, height, 0.0)

    order = tf.argsort(height, direction="DESCENDING", stable=True)
    points, height = tf.gather(points, order, batch_dims=1), tf.gather(height, order, batch_dims=1)
    tall = height > covariance.floor[:, None] * config.contrast
    cells = tf.concat([tf.sin(points[..., :2]), points[..., 2:]], axis=-1) / (
        dictionary.cell_size() if cell_size is None else cell_size
    )
    apart = tf.reduce_any(tf.abs(cells[:, :, None] - cells[:, None, :]) > config.merge_cells, axis=-1)
    number = tf.range(tf.shape(points)[1])
    earlier = number[:, None] > number
    double = tf.reduce_any(~apart & earlier, axis=-1)
    return Peaks(points, height, tall & ~double)
