"""Multipath estimation: assigns reflected paths to their sources, and finds further ones.

A reflection carries the same symbols as its source. If one source with two paths is more likely than two independent
sources, the weaker source becomes a reflected path of the stronger one, and both form one column. The stronger path is
the direct one, since reflections lose power to free space and walls. Then `models.multipath.reflections` finds further
paths by the symbols. Without this step, reflections bias the position of their source. For scenes without reflections
it costs one product with the grid.
"""

from typing import NamedTuple

import tensorflow as tf

from models.covariance_estimator.likelihood import Evaluation
from models.covariance_estimator.off_grid_refinement import Refinement
from models.covariance_estimator.paths import Paths
from models.covariance_estimator.search import Proposal, improve
from models.multipath.config import MultipathConfig
from models.multipath.reflections import (
    PathGrid,
    led_by_strongest,
    path_scores,
    with_coherent_pair,
    with_found_paths,
)
from models.physics.observation import Observation


class MultipathModel(NamedTuple):
    """Paths of one scene, the likelihood at them, and the results of `path_scores`, [A, N] complex64."""

    paths: Paths
    evaluation: Evaluation
    scores: tf.Tensor


def estimate_multipath(
    observation: Observation,
    paths: Paths,
    evaluation: Evaluation,
    grid: PathGrid,
    refinement: Refinement,
    config: MultipathConfig,
) -> MultipathModel:
    """Finds the reflected paths of the sources, and merges sources that are reflections into their sources.

    Args:
      observation: one scene, without the axis B.
      paths, evaluation: refined sources without reflections, and the likelihood at them.
      grid: directions of possible paths, and the surface.
      refinement: refines after each change.
      config: the search.

    Returns:
      The sources and their paths. Scenes without reflections keep the given ones.
    """

    def scored(paths: Paths, evaluation: Evaluation) -> MultipathModel:
        return MultipathModel(paths, evaluation, path_scores(observation, paths, evaluation))

    def refined(changed: Paths) -> MultipathModel:
        led = led_by_strongest(changed, refinement.scenario.field_of_view)
        return scored(*refinement(observation, led, config.steps, prune_path_llr=config.min_llr))

    def merge(model: MultipathModel) -> Proposal:
        merged, llr = with_coherent_pair(model.paths, model.evaluation)
        return merged, llr > config.min_llr

    def add(model: MultipathModel) -> Proposal:
        return with_found_paths(observation, *model, grid, config)

    model = scored(paths, evaluation)
    if config.rounds == 0:
        return model
    return tf.cond(paths.count > 0, lambda: improve(model, [merge, add], refined, config.rounds), lambda: model)
