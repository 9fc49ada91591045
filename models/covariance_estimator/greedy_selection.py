"""Greedy selection of the sources of one scene: each attempt adds the best new source and refines all jointly."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.likelihood import Evaluation, error_covariance, of_direct_paths
from models.covariance_estimator.new_source import best_grid_points, residual_peak
from models.covariance_estimator.off_grid_refinement import Refinement
from models.covariance_estimator.paths import Paths
from models.covariance_estimator.search import Proposal, improve, with_free_shapes
from models.physics.config import PathLossConfig
from models.physics.observation import Observation
from models.physics.path_loss import log_evidence


class Refined(NamedTuple):
    """Paths of one scene, and the likelihood at them."""

    paths: Paths
    evaluation: Evaluation


def path_loss_evidence(model: Refined) -> tf.Tensor:
    """Log evidence of the path-loss law for the sources, [] float32 (models.physics.path_loss)."""
    paths, evaluation = model
    num_sources = paths.num_sources
    _, _, inverse_range, log_power, _ = tf.unstack(paths.parameters[:num_sources], axis=-1)
    covariance = error_covariance(of_direct_paths(evaluation, paths), num_sources)
    slope = -2.0 / inverse_range
    variance = covariance[:, 3, 3] + slope**2 * covariance[:, 2, 2] + 2.0 * slope * covariance[:, 2, 3]
    level = log_power - 2.0 * tf.math.log(inverse_range)
    known = tf.ones_like(level, tf.bool)
    return log_evidence(level[None], tf.maximum(variance, 0.0)[None], known[None], PathLossConfig())[0]


class GreedySelection:
    """Adds sources to a model until the likelihood does not rise any more.

    Args:
      dictionary: the grid.
      refinement: refines after each addition; its config limits the rounds.
      slots: largest number of sources.
    """

    def __init__(self, dictionary: PolarDictionary, refinement: Refinement, slots: int) -> None:
        self.dictionary, self.refinement, self.slots = dictionary, refinement, slots
        self.config = refinement.config

    def __call__(self, observation: Observation, model: Refined, low_rank: tf.Tensor) -> Refined:
        """Adds sources to the model of one scene; `low_rank` [] bool tells if its channel is a low-rank channel."""
        config = self.config
        if config.additions == 0:
            return model

        def propose(model: Refined) -> Proposal:
            best_branch, peak = (
                lambda: self._best_branch(observation, model),
                lambda: self._with_peak(observation, model),
            )
            proposed, wanted = tf.cond(low_rank, best_branch, peak)
            return proposed, wanted & (model.paths.num_sources < self.slots)

        def refined(paths: Paths) -> Refined:
            steps = tf.where(low_rank, 0, config.addition_steps)  # the best branch is refined already
            return Refined(*self.refinement(observation, paths, steps))

        most = tf.where(low_rank, config.low_rank_additions, config.additions)
        return improve(model, [propose], refined, most)

    def _with_peak(self, observation: Observation, model: Refined) -> Proposal:
        """For a full-rank channel: adds the best peak of the unexplained power."""
        found = residual_peak(observation, *model, self.dictionary, self.config.candidates)
        return model.paths.with_source(found.parameters[0]), found.llr[0] > self.config.prune_llr

    def _best_branch(self, observation: Observation, model: Refined) -> Proposal:
        """For a low-rank channel: tries the best grid points separately, and takes the one of the best objective.

        The threshold `low_rank_llr` is lower than `prune_llr`, because with a low-rank channel the log-likelihood ratio
        falls steeply between grid points.
        """
        config = self.config
        found = best_grid_points(observation, *model, self.dictionary, config.directions, config.low_rank_branches)
        branches = tf.math.count_nonzero(found.llr > config.low_rank_llr, dtype=tf.int32)

        def branch(number: tf.Tensor, least: tf.Tensor, best: Paths) -> tuple[tf.Tensor, tf.Tensor, Paths]:
            grown = model.paths.with_source(found.parameters[number])
            reached = Refined(*self.refinement(observation, grown, config.low_rank_steps))
            objective = self._objective(reached)
            better = objective < least
            best = tf.cond(better, lambda: reached.paths, lambda: best)
            return number + 1, tf.where(better, objective, least), best

        free = (tf.TensorShape([]), tf.TensorShape([]), with_free_shapes(model.paths))
        start = (tf.constant(0), tf.constant(np.inf, tf.float32), model.paths)
        _, _, best = tf.while_loop(lambda number, *_: number < branches, branch, start, shape_invariants=free)
        return best, branches > 0

    def _objective(self, model: Refined) -> tf.Tensor:
        """NLL plus a penalty per source, minus the path-loss evidence, [] float32; lower is better."""
        number = tf.cast(model.paths.num_sources, tf.float32)
        return model.evaluation.nll + self.config.prune_llr * number - path_loss_evidence(model)
