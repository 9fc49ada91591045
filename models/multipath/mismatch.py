"""How well the received column of each source fits the measurement."""

import tensorflow as tf

from models.covariance_estimator.atoms import PARAMETERS_PER_ATOM
from models.covariance_estimator.likelihood import Evaluation
from models.covariance_estimator.paths import PARAMETERS_PER_PATH, Paths
from models.physics.geometry import RISArray
from models.physics.observation import Observation

_LEAST_FREE_SHARE = 0.3


def mismatch_ratio(
    observation: Observation, paths: Paths, evaluation: Evaluation, scores: tf.Tensor, array: RISArray
) -> tf.Tensor:
    """Variance of the score with respect to the element phases, relative to that from noise alone: [A] float32.

    The derivative of the NLL with respect to the phase of element n in a source's column a is 2 Im(a_n^* w_n), with w_k
    = `scores` [A, N] as in `path_scores`. If the model is correct, these derivatives have the variance f |a_n|^2 / N
    with f = 2 sum_l G(s_lk, s_lk) tr(Phi_l^H S_l^-1 Phi_l), and the ratio is one with standard deviation (2 / N)^(1/2).
    Any error of the column increases it: reflections too weak to find, elements that are displaced, dead or out of
    phase, a channel error. The position only affects the phases. The variances of its score and of its estimate
    therefore grow by the same ratio: the sandwich covariance F^-1 V F^-1 (White 1982) is this ratio times F^-1. The
    ratio is corrected for the fitted parameters of the source and half of those of each reflected path.
    """
    num_sources, channel = paths.num_sources, observation.channel
    vectors = paths.steering(array)[:num_sources]
    turns = tf.math.imag(tf.math.conj(vectors) * scores)
    score = tf.reduce_sum(turns**2, axis=1) / tf.reduce_sum(tf.abs(vectors) ** 2, axis=1)
    # tr(Phi^H S^-1 Phi) for codes of equal moduli: (tr K - tr(W^-1 B^H K B)) / sigma^2 with K = |c|^2 H H^H
    gram_c = tf.math.conj(tf.matmul(channel, channel, adjoint_b=True))
    inside = tf.matmul(
        evaluation.inverse_c, tf.matmul(tf.tensordot(evaluation.sources, gram_c, 1), evaluation.sources, adjoint_b=True)
    )
    energy = tf.math.real(tf.linalg.trace(gram_c) - tf.linalg.trace(inside)) / paths.noise_power
    energy *= tf.reduce_mean(tf.abs(observation.ris_codes) ** 2, axis=-1)
    certainty = evaluation.certainty(paths.noise_power)
    expected = 0.5 / array.num_elements * tf.linalg.matvec(certainty, energy, transpose_a=True)
    fitted = PARAMETERS_PER_ATOM + 0.5 * PARAMETERS_PER_PATH * tf.reduce_sum(paths.membership(), axis=0)
    free = tf.maximum(1.0 - fitted / array.num_elements, _LEAST_FREE_SHARE)
    return score / (expected * free + 1e-9)
