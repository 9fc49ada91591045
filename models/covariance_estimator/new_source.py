"""Proposals of new sources: the grid point or peak with the largest log-likelihood ratio.

Given the paths in S_l, a new source a of power gamma has exactly the log-likelihood ratio

    sum_l gamma b_l / (1 + gamma alpha_l) - log(1 + gamma alpha_l),
    alpha_l = a^H Phi_l^H S_l^-1 Phi_l a,    b_l = |a^H Phi_l^H S_l^-1 y_l|^2.

Through a full-rank channel a source is received with nearly the same energy in every snapshot. The peaks of sum_l b_l
on the grid then show the sources, and alpha_l is needed at the peaks only. Through a low-rank channel, such as a line
of sight, alpha_l varies with the codes, and only its pattern over the snapshots separates the sources. The ratio is
then computed at every grid point. A few dominant directions W contain nearly all of such a channel. With P = W^H H, the
covariance of W^H y_l is the small matrix S_l = W^H Phi_l R Phi_l^H W + sigma^2 I, and
    alpha_l = |S_l^-1/2 P diag(c_l) d|^2,    b_l = |y_l^H W S_l^-1 P diag(c_l) d|^2.
"""

from typing import NamedTuple

import tensorflow as tf

from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.grid_peaks import grid_peaks
from models.covariance_estimator.likelihood import Evaluation
from models.covariance_estimator.paths import Paths
from models.physics.observation import Observation

_POWER_STEPS = 4
_LEAST_ALPHA = 1e-6


class NewSources(NamedTuple):
    """Alternative new sources of one scene, the best first.

    parameters: azimuth, elevation, inverse range, log power, [C, 4] float32.
    llr: log-likelihood ratio of each, [C] float32.
    """

    parameters: tf.Tensor
    llr: tf.Tensor


def best_power(alpha: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The power that maximises the log-likelihood ratio of a new source, by Fisher scoring in the log power.

    alpha and b [L, C] float32 -> [C] float32, positive. Undefined where no power increases the likelihood, that is
    sum_l b_l <= sum_l alpha_l.
    """
    excess = tf.reduce_sum(b - alpha, axis=0)
    log_power = tf.math.log(tf.maximum(excess, 1e-6) / tf.reduce_sum(alpha**2, axis=0))
    for _ in range(_POWER_STEPS):
        power = tf.exp(log_power)
        rest = 1.0 / (1.0 + power * alpha)
        explained = 1.0 - rest
        slope = tf.reduce_sum(power * b * rest**2 - explained, axis=0)
        log_power += tf.clip_by_value(slope / tf.reduce_sum(explained**2, axis=0), -1.0, 1.0)
    return tf.exp(log_power)


def llr_at(power: tf.Tensor, alpha: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Log-likelihood ratio of a new source of that power: power [C], alpha and b [L, C] -> [C], all float32."""
    loaded = power * alpha
    return tf.reduce_sum(power * b / (1.0 + loaded) - tf.math.log1p(loaded), axis=0)


def _sources_at(indices: tf.Tensor, powers: tf.Tensor, dictionary: PolarDictionary) -> tf.Tensor:
    """Sources [C, 4] at grid points [C], from the powers [C] of the unit-norm columns."""
    axes = (dictionary.azimuth, dictionary.elevation, dictionary.inverse_range)
    coordinates = [tf.gather(axis, indices) for axis in axes]
    powers /= tf.gather(dictionary.norm2, indices)
    return tf.stack([*coordinates, tf.math.log(tf.maximum(powers, 1e-6))], axis=-1)


def residual_peak(
    observation: Observation, paths: Paths, evaluation: Evaluation, dictionary: PolarDictionary, count: int
) -> NewSources:
    """The peak of the unexplained power with the largest log-likelihood ratio, of the `count` highest peaks: C = 1."""
    residual = evaluation.residual / tf.cast(paths.noise_power, tf.complex64)  # S_l^-1 y_l
    fields = observation.back_project(residual)
    indices, _ = grid_peaks(dictionary.beam_power(fields[None]), dictionary, count)
    rows = tf.gather(dictionary.vectors, indices[0])
    response = observation.respond(rows)  # [L, C, M]
    alpha = tf.maximum(evaluation.energy(response, paths.noise_power), _LEAST_ALPHA)
    b = tf.abs(tf.linalg.matvec(response, tf.math.conj(residual))) ** 2
    power = best_power(alpha, b)
    llr, best = tf.math.top_k(llr_at(power, alpha, b), 1)
    return NewSources(_sources_at(tf.gather(indices[0], best), tf.gather(power, best), dictionary), llr)


def effective_rank(channel: tf.Tensor) -> tf.Tensor:
    """Effective rank of the channel, (tr H H^H)^2 / tr (H H^H)^2: [B, M, N] complex64 -> [B] float32."""
    gram = tf.matmul(channel, channel, adjoint_b=True)
    trace = tf.math.real(tf.linalg.trace(gram))
    return trace**2 / tf.reduce_sum(tf.abs(gram) ** 2, axis=(-2, -1))


def grid_llr(
    observation: Observation, paths: Paths, evaluation: Evaluation, dictionary: PolarDictionary, directions: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Log-likelihood ratio of a new source at every grid point at its best power, and that power, [G] float32 each.

    The ratio is zero where no power increases the likelihood. Uses this number of dominant directions of the channel.
    """
    channel = observation.channel
    _, vectors = tf.linalg.eigh(tf.matmul(channel, channel, adjoint_b=True))
    strongest_c = tf.math.conj(vectors[:, -min(directions, channel.shape[0]) :])
    reduced = tf.matmul(strongest_c, channel, transpose_a=True)
    snapshots = tf.matmul(observation.snapshots, strongest_c)
    sources = tf.matmul(evaluation.sources, strongest_c)  # [L, A, directions]
    noise = tf.cast(paths.noise_power, tf.complex64) * tf.eye(reduced.shape[0], dtype=tf.complex64)
    chol = tf.linalg.cholesky(tf.matmul(sources, tf.math.conj(sources), transpose_a=True) + noise)
    rows = tf.linalg.triangular_solve(chol, reduced * observation.ris_codes[:, None])
    white = tf.linalg.triangular_solve(chol, snapshots[..., None])
    alpha = tf.maximum(dictionary.beam_power(tf.math.conj(rows)), _LEAST_ALPHA)
    b = dictionary.beam_power(tf.math.conj(tf.matmul(white, rows, adjoint_a=True)))
    power = best_power(alpha, b)
    useful = tf.reduce_sum(b - alpha, axis=0) > 0.0
    return tf.where(useful, llr_at(power, alpha, b), 0.0), power


def best_grid_points(
    observation: Observation,
    paths: Paths,
    evaluation: Evaluation,
    dictionary: PolarDictionary,
    directions: int,
    count: int,
) -> NewSources:
    """The C = `count` highest maxima of the log-likelihood ratio over the grid."""
    llr, power = grid_llr(observation, paths, evaluation, dictionary, directions)
    indices, llr = grid_peaks(llr[None], dictionary, count)
    return NewSources(_sources_at(indices[0], tf.gather(power, indices[0]), dictionary), llr[0])
