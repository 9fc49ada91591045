"""Reflections: what arrives with the symbols of a source by another path is part of that source.

An atom that stands for a reflection has the symbols of its source. It becomes a path of it, one column with the direct
path, where that is more likely than two independent sources; the stronger of the two is the direct path, since free
space and walls weaken the other. Further paths are searched by the symbols, `models.covariance_estimator.path_search`.
Without them a source's position is biased by its own reflections. Scenes without reflections cost one product.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.covariance_estimator.batches import Structure, put_scenes, take_scenes
from models.covariance_estimator.config import CoherenceConfig, ContinuousConfig
from models.covariance_estimator.continuous import _Limits, _limits
from models.covariance_estimator.likelihood import PARAMETERS_PER_ATOM, Atoms, Evaluation
from models.covariance_estimator.path_search import (
    BEYOND,
    PathGrid,
    coherent_pair,
    may_reflect,
    mismatch_ratio,
    path_scores,
    search_paths,
)
from models.covariance_estimator.paths import PathEvaluation, Paths, Unmixed, evaluate_paths, no_paths, unmix
from models.physics.geometry import FieldOfView, RISArray
from models.physics.observation import Observation
from models.physics.steering import steering_jacobian


class Reflections(NamedTuple):
    """Sources, their reflected paths, and the likelihood there with the paths' amplitudes unknown.

    atoms: the direct paths. paths: the reflected ones. evaluation: of the atoms. mismatch: `mismatch_ratio`, [B, A].
    """

    atoms: Atoms
    paths: Paths
    evaluation: Evaluation
    mismatch: tf.Tensor


class _State(NamedTuple):
    atoms: Atoms
    paths: Paths
    damping: tf.Tensor
    evaluation: PathEvaluation
    unmixed: Unmixed


_STEP_SCALE, _PATH_SCALE = (0.05, 0.05, 0.1, 1.0), (1.0, 0.5)  # as `continuous`; log power and phase of a path
_MAX_STEP = 2.0
_DAMPING_START, _DAMPING_DOWN, _DAMPING_UP = 0.1, 0.3, 6.0
_NLL_RESOLUTION = 5e-3
_LOG_POWER = (-13.8, 4.6)


def _choose(accept: tf.Tensor, new: Structure, old: Structure) -> Structure:
    return tf.nest.map_structure(
        lambda a, b: tf.where(tf.reshape(accept, [-1] + [1] * (a.shape.rank - 1)), a, b), new, old
    )


def _scoring_step(observation: Observation, state: _State, limits: _Limits, array: RISArray) -> tuple[Atoms, Paths]:
    """The damped step -(F + lambda diag F)^-1 g, clipped, inside the limits."""
    atoms, paths, damping, evaluation, _ = state
    num_atoms, num_paths = atoms.active.shape[-1], paths.active.shape[-1]
    scale = np.concatenate([np.repeat(_STEP_SCALE, num_atoms), np.repeat(_PATH_SCALE, num_paths)]).astype(np.float32)
    fisher = evaluation.fisher * scale[:, None] * scale
    diagonal = tf.linalg.diag_part(fisher)
    loaded = diagonal * (1.0 + damping[:, None]) + tf.where(diagonal > 0, 1e-6, 1.0)
    chol = tf.linalg.cholesky(tf.linalg.set_diag(fisher, loaded))
    step = -tf.linalg.cholesky_solve(chol, (evaluation.gradient * scale)[..., None])[..., 0]
    step = tf.clip_by_value(step, -_MAX_STEP, _MAX_STEP) * scale
    of_atoms, log_power, phase = tf.split(step, [PARAMETERS_PER_ATOM * num_atoms, num_paths, num_paths], axis=-1)
    of_atoms = tf.linalg.matrix_transpose(tf.reshape(of_atoms, [-1, PARAMETERS_PER_ATOM, num_atoms]))
    moved = tf.clip_by_value(atoms.parameters + of_atoms, limits.low, limits.high)
    moved = tf.where(atoms.active[..., None], moved, atoms.parameters)
    noise_step = -evaluation.noise_gradient / (evaluation.noise_fisher * (1.0 + damping))
    noise_power = atoms.noise_power * tf.exp(tf.clip_by_value(noise_step, -_MAX_STEP, _MAX_STEP))
    noise_power = tf.clip_by_value(noise_power, *limits.noise_power)
    log_power = tf.clip_by_value(paths.log_power + log_power, *_LOG_POWER)
    return Atoms(moved, atoms.active, noise_power), paths._replace(
        points=_moved_points(observation, state, array), log_power=log_power, phase=paths.phase + phase
    )


def _moved_points(observation: Observation, state: _State, array: RISArray) -> tf.Tensor:
    """A Gauss-Newton step of each reflected path's direction and curvature with all else fixed, [B, P, 3].

    dNLL/dpsi = 2 Re(c^* a'^H w_k); the information is that of a mean channel.
    """
    atoms, paths, damping, _, unmixed = state
    scores = tf.linalg.matrix_transpose(path_scores(observation, unmixed))  # [B, A, N]
    own = tf.gather(scores, paths.source, batch_dims=1)
    azimuth, elevation, inverse_range = tf.unstack(paths.points, axis=-1)
    vectors, slopes = steering_jacobian(azimuth, elevation, inverse_range, array)
    amplitude = paths.amplitudes()
    gradient = tf.math.real(tf.linalg.matvec(tf.math.conj(slopes), own) * tf.math.conj(amplitude)[..., None])
    norm2 = tf.reduce_sum(tf.abs(vectors) ** 2, axis=-1)[..., None, None]
    along = tf.linalg.matvec(slopes, tf.math.conj(vectors))[..., None]
    across = tf.matmul(slopes, slopes, adjoint_b=True) - tf.matmul(along, along, adjoint_b=True) / tf.cast(
        norm2, tf.complex64
    )
    num_antennas = tf.cast(observation.channel.shape[1], tf.float32)
    certainty = tf.gather(tf.reduce_sum(unmixed.certainty, axis=1), paths.source, batch_dims=1)
    weight = certainty * tf.abs(amplitude) ** 2 * num_antennas / atoms.noise_power[:, None]
    information = tf.math.real(across) * weight[..., None, None]
    diagonal = tf.linalg.diag_part(information)
    information = tf.linalg.set_diag(information, diagonal * (1.05 + damping[:, None, None]) + 1e-6)
    step = -tf.linalg.cholesky_solve(tf.linalg.cholesky(information), gradient[..., None])[..., 0]
    step = tf.clip_by_value(step, -0.05, 0.05)
    low, high = np.array([-1.5, -1.5, 1e-3], np.float32), tf.constant([1.5, 1.5])
    limit = BEYOND * tf.gather(atoms.parameters[..., 2], paths.source, batch_dims=1)
    high = tf.concat([tf.broadcast_to(high, tf.concat([tf.shape(limit), [2]], 0)), limit[..., None]], axis=-1)
    return tf.where(paths.active[..., None], tf.clip_by_value(paths.points + step, low, high), paths.points)


def _refine(
    observation: Observation,
    atoms: Atoms,
    paths: Paths,
    array: RISArray,
    limits: _Limits,
    config: CoherenceConfig,
    prune_gain: float,
) -> _State:
    """Joint Fisher scoring of atoms and path amplitudes; the last step drops what is not worth its gain."""

    def body(step: tf.Tensor, state: _State) -> tuple[tf.Tensor, _State]:
        last = step == config.steps
        active = state.atoms.active & ~(state.evaluation.gains < prune_gain)
        kept = state.paths.active & (state.evaluation.path_gains >= config.min_gain)
        kept &= tf.gather(active, state.paths.source, batch_dims=1)
        pruned = (state.atoms._replace(active=active), state.paths._replace(active=kept))
        some = tf.reduce_any(active != state.atoms.active, -1) | tf.reduce_any(kept != state.paths.active, -1)
        prune = last & some
        atoms, paths = _choose(prune, pruned, _scoring_step(observation, state, limits, array))
        evaluation, unmixed = evaluate_paths(observation, atoms, paths, array)
        accept = prune | (evaluation.nll < state.evaluation.nll + _NLL_RESOLUTION)
        damping = state.damping * tf.where(accept, _DAMPING_DOWN, _DAMPING_UP)
        new = _State(atoms, paths, damping, evaluation, unmixed)
        return step + 1, _choose(accept, new, state._replace(damping=damping))

    damping = tf.fill([tf.shape(atoms.active)[0]], _DAMPING_START)
    start = _State(atoms, paths, damping, *evaluate_paths(observation, atoms, paths, array))
    return tf.while_loop(lambda step, _: step <= config.steps, body, (tf.constant(0), start))[1]


def _lead_by_strongest(atoms: Atoms, paths: Paths, view: FieldOfView) -> tuple[Atoms, Paths]:
    """Makes the strongest path of each source its direct one, where it lies in the field of view.

    An atom may stand for a reflection, or for a splinter, of a source that is only found as its path.
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
    """The strongest of both in the slots of the old ones."""
    both = Paths(*(tf.concat(pair, axis=1) for pair in zip(paths, new, strict=True)))
    rank = tf.where(both.active, both.log_power, -np.float32(np.inf))
    keep = tf.math.top_k(rank, paths.active.shape[-1]).indices
    return Paths(*(tf.gather(value, keep, batch_dims=1) for value in both))


def _of_atoms(evaluation: PathEvaluation, num_atoms: int) -> Evaluation:
    """The likelihood by the atoms alone: the paths' parameters are unknown, F_aa - F_ap F_pp^-1 F_pa."""
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
        evaluation.gains,
        evaluation.noise_gradient,
        evaluation.noise_fisher,
    )


def _grown(
    observation: Observation,
    state: _State,
    grid: PathGrid,
    config: CoherenceConfig,
    view: FieldOfView,
    merges: tf.Tensor,
) -> tuple[Atoms, Paths, tf.Tensor, tf.Tensor]:
    """What a round tries: two coherent atoms as one source, where `merges` [B] still allows it, or else new paths.

    Returns:
      atoms, paths, whether a scene has something to try and whether that is a merger, [B] bool.
    """
    atoms, paths = state.atoms, state.paths
    weak, path, gain = coherent_pair(observation, atoms, paths, state.unmixed, grid.array)
    merged = merges & (gain > config.min_gain)
    found = search_paths(observation, atoms, state.unmixed, grid, config.paths_per_source, config.paths_per_round)
    wanted = found.paths._replace(active=(found.gains > config.min_gain) & ~merged[:, None])
    new = Paths(*(tf.concat(pair, axis=1) for pair in zip(path._replace(active=merged[:, None]), wanted, strict=True)))
    gone = (tf.range(atoms.active.shape[-1]) == weak[:, None]) & merged[:, None]
    changed = tf.reduce_any(new.active, axis=-1)
    atoms, paths = _lead_by_strongest(atoms._replace(active=atoms.active & ~gone), _with_paths(paths, new), view)
    return atoms, paths, changed, merged


class _Work(NamedTuple):
    """Scenes that may have further paths: their numbers, measurements and state; whether mergers are still tried."""

    scenes: tf.Tensor
    observation: Observation
    state: _State
    merges: tf.Tensor


def _round(
    work: _Work, grid: PathGrid, view: FieldOfView, continuous: ContinuousConfig, config: CoherenceConfig
) -> _Work:
    """One round: what it finds is refined and kept where it is more likely; scenes that found nothing leave."""
    atoms, paths, changed, merged = _grown(work.observation, work.state, grid, config, view, work.merges)
    kept = tf.where(changed)[:, 0]
    work, atoms, paths, merged = take_scenes((work, atoms, paths, merged), kept)
    limits = _limits(grid.array, view, work.observation.noise_power, continuous.noise_range_db)
    reached = _refine(work.observation, atoms, paths, grid.array, limits, config, continuous.prune_gain)
    better = reached.evaluation.nll < work.state.evaluation.nll
    work = work._replace(state=_choose(better, reached, work.state), merges=work.merges & (better | ~merged))
    return take_scenes(work, tf.where(better | merged)[:, 0])


def explain_reflections(
    observation: Observation,
    atoms: Atoms,
    evaluation: Evaluation,
    grid: PathGrid,
    field_of_view: FieldOfView,
    continuous: ContinuousConfig,
    config: CoherenceConfig,
) -> Reflections:
    """Gives sources their reflected paths and takes back the atoms that stood for some.

    Args:
      observation: the scenes.
      atoms, evaluation: refined atoms and the likelihood there.
      grid: where paths may come from, and the surface.
      field_of_view, continuous: limits of the atoms, and the gain an atom must be worth.
      config: the search.

    Returns:
      The reflections; of a scene without any, atoms and evaluation are those given.
    """
    num_scenes, num_atoms = tf.shape(atoms.active)[0], atoms.active.shape[-1]
    paths = no_paths(num_scenes, config.max_paths)
    unmixed = unmix(observation, atoms, paths, grid.array)
    mismatch = mismatch_ratio(observation, unmixed)
    known = Reflections(atoms, paths, evaluation, mismatch)
    if config.rounds == 0:
        return known
    pair = coherent_pair(observation, atoms, paths, unmixed, grid.array)[2] > config.min_gain
    suspicious = pair | may_reflect(observation, atoms, unmixed, grid, 0.5 * config.min_gain)
    scenes = tf.where(suspicious)[:, 0]
    some, some_atoms, some_paths = take_scenes((observation, atoms, paths), scenes)
    start = evaluate_paths(some, some_atoms, some_paths, grid.array)
    state = _State(some_atoms, some_paths, tf.zeros_like(some_atoms.noise_power), *start)

    def body(number: tf.Tensor, work: _Work, known: Reflections) -> tuple[tf.Tensor, _Work, Reflections]:
        work = _round(work, grid, field_of_view, continuous, config)
        state = work.state
        found = Reflections(
            state.atoms,
            state.paths,
            _of_atoms(state.evaluation, num_atoms),
            mismatch_ratio(work.observation, state.unmixed),
        )
        return number + 1, work, put_scenes(known, work.scenes, found)

    def more(number: tf.Tensor, work: _Work, _: Reflections) -> tf.Tensor:
        return (number < config.rounds) & (tf.size(work.scenes) > 0)

    loop = (tf.constant(0), _Work(scenes, some, state, tf.ones_like(scenes, tf.bool)), known)
    any_scenes = tf.nest.map_structure(lambda value: tf.TensorShape([None, *value.shape[1:]]), loop[1:])
    shapes = (tf.TensorShape([]), *any_scenes)
    return tf.while_loop(more, body, loop, shape_invariants=shapes)[2]
