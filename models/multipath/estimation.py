"""Multipath estimation: assigns reflected paths to their sources.

A reflection carries the same symbols as its source. If one source with two paths is more likely than two independent
sources, the weaker atom becomes a reflected path of the stronger one, and both form one column. The stronger path is
the direct one, since reflections lose power to free space and walls. `models.multipath.path_search` finds further paths
by the symbols. Without this step, reflections bias the position of their source. For scenes without reflections it
costs one product with the grid.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.covariance_estimator.batches import choose, put_scenes, take_scenes
from models.covariance_estimator.config import RefinementConfig
from models.covariance_estimator.likelihood import PARAMETERS_PER_ATOM, Atoms, Evaluation
from models.covariance_estimator.off_grid_refinement import parameter_limits
from models.multipath.config import MultipathConfig
from models.multipath.path_refinement import refine_paths
from models.multipath.path_search import (
    BEYOND,
    PathGrid,
    coherent_pair,
    may_reflect,
    mismatch_ratio,
    path_scores,
    search_paths,
)
from models.multipath.paths import PathEvaluation, Paths, Unmixed, no_paths, unmix
from models.physics.geometry import FieldOfView
from models.physics.observation import Observation

_SCREENING_SHARE = 0.75  # threshold of the screening relative to min_llr; the screening uses a mean channel


class MultipathEstimate(NamedTuple):
    """Sources with their reflected paths.

    atoms: the direct paths, [B, A].
    paths: the reflected paths.
    evaluation: the likelihood as a function of the atoms; the amplitudes of the paths are nuisance parameters.
    mismatch: `mismatch_ratio` of each atom, [B, A] float32.
    """

    atoms: Atoms
    paths: Paths
    evaluation: Evaluation
    mismatch: tf.Tensor


class _State(NamedTuple):
    """Sources, their paths, the likelihood as a function of the atoms, and the results of `unmix` and `path_scores`."""

    atoms: Atoms
    paths: Paths
    evaluation: Evaluation
    unmixed: Unmixed
    scores: tf.Tensor


def _lead_by_strongest(atoms: Atoms, paths: Paths, view: FieldOfView) -> tuple[Atoms, Paths]:
    """Makes the strongest path of each source its direct path, if it lies in the field of view.

    An atom may represent a reflection of a source whose direct path was found as the path of this atom.
    """
    num_atoms = atoms.active.shape[-1]
    of_source = paths.of_source(num_atoms) > 0.0  # [B, P, A]
    azimuth, elevation, inverse_range = tf.unstack(paths.points, axis=-1)
    inside = inverse_range >= view.inverse_range[0]
    for angle, (low, high) in ((azimuth, view.azimuth), (elevation, view.elevation)):
        inside &= (angle >= low) & (angle <= high)
    power = tf.where(of_source & inside[..., None], paths.log_power[..., None], -np.float32(np.inf))
    best = tf.argmax(power, axis=1, output_type=tf.int32)  # [B, A]
    swap = tf.reduce_max(power, axis=1) > atoms.parameters[..., 3]
    leader = tf.one_hot(best, paths.active.shape[-1], on_value=True, off_value=False, axis=1)  # [B, P, A]
    leads = tf.reduce_any(leader & of_source & swap[:, None], axis=-1)  # [B, P]
    whole = tf.concat([paths.points, paths.log_power[..., None]], axis=-1)
    turn = tf.where(swap, tf.gather(paths.phase, best, batch_dims=1), 0.0)
    demoted = tf.gather(atoms.parameters, paths.source, batch_dims=1)
    whole, promoted = tf.where(leads[..., None], demoted, whole), tf.gather(whole, best, batch_dims=1)
    parameters = tf.where(swap[..., None], promoted, atoms.parameters)
    phase = tf.where(leads, 0.0, paths.phase) - tf.gather(turn, paths.source, batch_dims=1)
    limit = BEYOND * tf.gather(parameters[..., 2], paths.source, batch_dims=1)
    points = tf.stack([whole[..., 0], whole[..., 1], tf.minimum(whole[..., 2], limit)], axis=-1)
    return atoms._replace(parameters=parameters), paths._replace(points=points, log_power=whole[..., 3], phase=phase)


def _with_paths(paths: Paths, new: Paths) -> Paths:
    """Keeps the strongest old and new paths, in as many slots as before."""
    both = Paths(*(tf.concat(pair, axis=1) for pair in zip(paths, new, strict=True)))
    rank = tf.where(both.active, both.log_power, -np.float32(np.inf))
    keep = tf.math.top_k(rank, paths.active.shape[-1]).indices
    return Paths(*(tf.gather(value, keep, batch_dims=1) for value in both))


def _of_atoms(evaluation: PathEvaluation, num_atoms: int) -> Evaluation:
    """The likelihood as a function of the atoms. The paths are nuisance parameters: F_aa - F_ap F_pp^-1 F_pa."""
    size = PARAMETERS_PER_ATOM * num_atoms
    fisher = evaluation.fisher
    nuisance = fisher[:, size:, size:]
    diagonal = tf.linalg.diag_part(nuisance)
    scale = tf.math.rsqrt(tf.where(diagonal > 0, diagonal, 1.0))
    scaled = tf.linalg.set_diag(nuisance * scale[:, :, None] * scale[:, None], tf.ones_like(diagonal) + 1e-3)
    cross = fisher[:, size:, :size] * scale[..., None]
    explained = tf.linalg.triangular_solve(tf.linalg.cholesky(scaled), cross)
    return Evaluation(
        evaluation.nll,
        evaluation.gradient[:, :size],
        fisher[:, :size, :size] - tf.matmul(explained, explained, transpose_a=True),
        evaluation.llr,
        evaluation.noise_gradient,
        evaluation.noise_fisher,
    )


def _grown(
    observation: Observation,
    state: _State,
    grid: PathGrid,
    config: MultipathConfig,
    view: FieldOfView,
    merges: tf.Tensor,
) -> tuple[Atoms, Paths, tf.Tensor, tf.Tensor]:
    """The model that a round tries: merges two coherent atoms where `merges` [B] allows it, or adds new paths.

    Also returns for each scene if the model changed and if two atoms were merged, [B] bool.
    """
    atoms, paths, _, unmixed, scores = state
    weak, path, llr = coherent_pair(atoms, paths, unmixed, scores, grid.array)
    merged = merges & (llr > config.min_llr)
    found = search_paths(observation, atoms, unmixed, scores, grid, config.paths_per_source, config.paths_per_round)
    wanted = found.paths._replace(active=(found.llr > config.min_llr) & ~merged[:, None])
    new = Paths(*(tf.concat(pair, axis=1) for pair in zip(path._replace(active=merged[:, None]), wanted, strict=True)))
    merged_away = (tf.range(atoms.active.shape[-1]) == weak[:, None]) & merged[:, None]
    changed = tf.reduce_any(new.active, axis=-1)
    atoms, paths = _lead_by_strongest(atoms._replace(active=atoms.active & ~merged_away), _with_paths(paths, new), view)
    return atoms, paths, changed, merged


class _Work(NamedTuple):
    """Scenes that may have further paths: indices, measurements, state, and whether each still tries merging."""

    scenes: tf.Tensor
    observation: Observation
    state: _State
    merges: tf.Tensor


def _round(
    work: _Work, grid: PathGrid, view: FieldOfView, refinement: RefinementConfig, config: MultipathConfig
) -> _Work:
    """One round: refines the changed model and keeps it if it is more likely. Scenes without a change leave."""
    atoms, paths, changed, merged = _grown(work.observation, work.state, grid, config, view, work.merges)
    kept = tf.where(changed)[:, 0]
    work, atoms, paths, merged = take_scenes((work, atoms, paths, merged), kept)
    limits = parameter_limits(grid.array, view, work.observation.noise_power, refinement.noise_range_db)
    refined = refine_paths(work.observation, atoms, paths, grid.array, limits, config, refinement.prune_llr)
    reached = _State(
        refined.atoms,
        refined.paths,
        _of_atoms(refined.evaluation, atoms.active.shape[-1]),
        refined.unmixed,
        path_scores(work.observation, refined.unmixed),
    )
    better = reached.evaluation.nll < work.state.evaluation.nll
    work = work._replace(state=choose(better, reached, work.state), merges=work.merges & (better | ~merged))
    return take_scenes(work, tf.where(better | merged)[:, 0])


def estimate_multipath(
    observation: Observation,
    atoms: Atoms,
    evaluation: Evaluation,
    grid: PathGrid,
    field_of_view: FieldOfView,
    refinement: RefinementConfig,
    config: MultipathConfig,
) -> MultipathEstimate:
    """Finds the reflected paths of the sources, and merges atoms that represent reflections into their sources.

    Args:
      observation: B scenes.
      atoms, evaluation: refined atoms and the likelihood at them.
      grid: directions of possible paths, and the surface.
      field_of_view: limits of the atoms.
      refinement: limits of the noise power, and the threshold for pruning atoms.
      config: the search.

    Returns:
      The sources and their paths. Scenes without reflections keep the given atoms and evaluation.
    """
    paths = no_paths(tf.shape(atoms.active)[0], config.max_paths)
    unmixed = unmix(observation, atoms, paths, grid.array)
    known = _State(atoms, paths, evaluation, unmixed, path_scores(observation, unmixed))
    if config.rounds > 0:
        known = _in_rounds(observation, known, grid, field_of_view, refinement, config)
    atoms, paths, evaluation, unmixed, scores = known
    mismatch = mismatch_ratio(observation, atoms, paths, unmixed, scores, grid.array)
    return MultipathEstimate(atoms, paths, evaluation, mismatch)


def _in_rounds(
    observation: Observation,
    known: _State,
    grid: PathGrid,
    view: FieldOfView,
    refinement: RefinementConfig,
    config: MultipathConfig,
) -> _State:
    """Runs rounds for the scenes that may have reflections, until none of them changes."""
    atoms, paths, _, unmixed, scores = known
    pair = coherent_pair(atoms, paths, unmixed, scores, grid.array)[2] > config.min_llr
    may_have_paths = pair | may_reflect(observation, atoms, unmixed, scores, grid, _SCREENING_SHARE * config.min_llr)
    scenes = tf.where(may_have_paths)[:, 0]
    work = _Work(scenes, *take_scenes((observation, known), scenes), tf.ones_like(scenes, tf.bool))

    def body(number: tf.Tensor, work: _Work, known: _State) -> tuple[tf.Tensor, _Work, _State]:
        work = _round(work, grid, view, refinement, config)
        return number + 1, work, put_scenes(known, work.scenes, work.state)

    def more(number: tf.Tensor, work: _Work, _: _State) -> tf.Tensor:
        return (number < config.rounds) & (tf.size(work.scenes) > 0)

    loop = (tf.constant(0), work, known)
    any_scenes = tf.nest.map_structure(lambda value: tf.TensorShape([None, *value.shape[1:]]), loop[1:])
    shapes = (tf.TensorShape([]), *any_scenes)
    return tf.while_loop(more, body, loop, shape_invariants=shapes)[2]
