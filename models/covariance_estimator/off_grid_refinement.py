"""Off-grid refinement: joint damped Fisher scoring of the atoms, with pruning."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.covariance_estimator.batches import choose, put_scenes, take_scenes
from models.covariance_estimator.config import RefinementConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.likelihood import PARAMETERS_PER_ATOM, Atoms, Evaluation, evaluate_atoms
from models.covariance_estimator.slots import active_first, first_slots, used_slots, with_rest_of, with_slots
from models.physics.geometry import FieldOfView, RISArray
from models.physics.observation import Observation

# Azimuth, elevation, inverse range, log power. The first three and the margins scale with the surface's resolution.
STEP_SCALE = (0.05, 0.05, 0.1, 1.0)
MAX_STEP = 2.0
DAMPING_START, DAMPING_DOWN, DAMPING_UP = 0.1, 0.3, 6.0
NLL_RESOLUTION = 5e-3  # resolution of the NLL in float32; smaller increases are accepted
_ANGLE_MARGIN = math.radians(3.0)
_INVERSE_RANGE_MARGIN = (0.05, 0.3)  # 1/m; estimates may exceed the largest range, the decision clips them


class _State(NamedTuple):
    atoms: Atoms
    damping: tf.Tensor
    evaluation: Evaluation


class Limits(NamedTuple):
    """Limits and units of a step.

    low, high: limits of azimuth, elevation (radians), inverse range (1/m) and log power, [4] float32.
    scale: units of a step of these parameters, [4] float32.
    noise_power: lowest and highest noise power, [B] float32 each.
    """

    low: np.ndarray
    high: np.ndarray
    scale: np.ndarray
    noise_power: tuple[tf.Tensor, tf.Tensor]


def parameter_limits(
    array: RISArray, field_of_view: FieldOfView, reported: tf.Tensor, noise_range_db: tuple[float, float]
) -> Limits:
    """Limits of the parameters: the field of view plus a margin, and noise powers around the reported ones.

    `reported` is the reported noise power, [B] float32; `noise_range_db` is relative to it, dB.
    """
    low_w, high_w = field_of_view.inverse_range
    wider = array.relative_resolution
    margins = _ANGLE_MARGIN * np.minimum(wider[:2], 1.0)
    low = [field_of_view.azimuth[0] - margins[0], field_of_view.elevation[0] - margins[1]]
    high = [field_of_view.azimuth[1] + margins[0], field_of_view.elevation[1] + margins[1]]
    low += [max(low_w - wider[2] * _INVERSE_RANGE_MARGIN[0], 0.2 * low_w), math.log(1e-6)]
    high += [high_w + wider[2] * _INVERSE_RANGE_MARGIN[1], math.log(1e2)]
    scale = np.array(STEP_SCALE) * np.append(wider, 1.0)
    noise_power = (reported * 10.0 ** (noise_range_db[0] / 10.0), reported * 10.0 ** (noise_range_db[1] / 10.0))
    single = [np.array(values, np.float32) for values in (low, high, scale)]
    return Limits(single[0], single[1], single[2], noise_power)


def _scoring_step(state: _State, limits: Limits) -> tuple[Atoms, tf.Tensor]:
    """Atoms after the damped step -(F + lambda diag F)^-1 g within the limits, and the predicted improvement, [B]."""
    parameters, active, noise_power = state.atoms
    batch = tf.shape(active)[0]
    num_atoms = tf.shape(active)[-1]
    scale = tf.repeat(limits.scale, num_atoms)
    fisher = state.evaluation.fisher * scale[:, None] * scale
    gradient = state.evaluation.gradient * scale
    diagonal = tf.linalg.diag_part(fisher)
    loaded = diagonal * (1.0 + state.damping[:, None]) + tf.where(diagonal > 0, 1e-6, 1.0)
    chol = tf.linalg.cholesky(tf.linalg.set_diag(fisher, loaded))
    step = -tf.linalg.cholesky_solve(chol, gradient[..., None])[..., 0]
    step = tf.reshape(tf.clip_by_value(step, -MAX_STEP, MAX_STEP) * scale, [batch, PARAMETERS_PER_ATOM, num_atoms])
    moved = tf.clip_by_value(parameters + tf.linalg.matrix_transpose(step), limits.low, limits.high)
    moved = tf.where(active[..., None], moved, parameters)
    noise_step = -state.evaluation.noise_gradient / (state.evaluation.noise_fisher * (1.0 + state.damping))
    moved_noise = noise_power * tf.exp(tf.clip_by_value(noise_step, -MAX_STEP, MAX_STEP))
    moved_noise = tf.clip_by_value(moved_noise, limits.noise_power[0], limits.noise_power[1])
    slopes = tf.reshape(state.evaluation.gradient, [batch, PARAMETERS_PER_ATOM, num_atoms])
    promise = tf.reduce_sum(slopes * tf.linalg.matrix_transpose(moved - parameters), axis=(1, 2))
    promise += state.evaluation.noise_gradient * tf.math.log(moved_noise / noise_power)
    return Atoms(moved, active, moved_noise), -0.5 * promise


def _placeholder(atoms: Atoms) -> Evaluation:
    """Placeholder evaluation: any real likelihood is better, nothing is pruned, the step is zero."""
    num_scenes, num_atoms = tf.shape(atoms.active)[0], atoms.active.shape[-1]
    size = PARAMETERS_PER_ATOM * num_atoms
    worst = tf.fill([num_scenes], np.float32(np.inf))
    llr = tf.fill([num_scenes, num_atoms], np.float32(np.inf))
    flat = tf.zeros([num_scenes])
    return Evaluation(worst, tf.zeros([num_scenes, size]), tf.zeros([num_scenes, size, size]), llr, flat, flat + 1.0)


def _cropped(state: _State, count: tf.Tensor) -> _State:
    return _State(first_slots(state.atoms, count), state.damping, with_slots(state.evaluation, count))


def _restored(state: _State, whole: _State) -> _State:
    """Inverse of `_cropped`: the state in the slots of `whole`."""
    slots = whole.atoms.active.shape[-1]
    return _State(with_rest_of(state.atoms, whole.atoms), state.damping, with_slots(state.evaluation, slots))


def _prunable(state: _State, prune_llr: float | tf.Tensor) -> tf.Tensor:
    """Active atoms with a log-likelihood ratio below the threshold, [B, A] bool."""
    return state.atoms.active & (state.evaluation.llr < prune_llr)


def _advance(
    observation: Observation,
    state: _State,
    array: RISArray,
    field_of_view: FieldOfView,
    config: RefinementConfig,
    prune_llr: float | tf.Tensor,
    first: tf.Tensor,
    stop: tf.Tensor,
) -> tuple[_State, tf.Tensor]:
    """Takes the steps `first` to `stop` - 1. Also returns which scenes have converged, [B] bool.

    Step -1 does not move: it evaluates the likelihood. A converged scene takes one last step without evaluation, so
    that the result does not depend on when it converged.
    """
    limits = parameter_limits(array, field_of_view, observation.noise_power, config.noise_range_db)

    def body(step: tf.Tensor, state: _State) -> tuple[tf.Tensor, _State]:
        prunable = _prunable(state, prune_llr)
        stay = (tf.reduce_any(prunable, axis=-1) & (step >= config.prune_after)) | (step < 0)
        pruned = state.atoms._replace(active=state.atoms.active & ~prunable)
        moved, _ = _scoring_step(state, limits)
        candidate = choose(stay, pruned, moved)
        evaluation = evaluate_atoms(observation, candidate, array)
        accept = stay | (evaluation.nll < state.evaluation.nll + NLL_RESOLUTION)
        factor = tf.where(stay, 1.0, tf.where(accept, DAMPING_DOWN, DAMPING_UP))
        damping = tf.clip_by_value(state.damping * factor, 1e-4, 1e4)
        atoms, evaluation = choose(accept, (candidate, evaluation), (state.atoms, state.evaluation))
        return step + 1, _State(atoms, damping, evaluation)

    _, state = tf.while_loop(lambda step, _: step < stop, body, (first, state))
    undamped = state._replace(damping=tf.zeros_like(state.damping))  # a large damping would look like convergence
    moved, promise = _scoring_step(undamped, limits)
    settled = (promise < config.tolerance) & ~tf.reduce_any(_prunable(state, prune_llr), axis=-1)
    return state._replace(atoms=choose(settled, moved, state.atoms)), settled


def skips_refinement(config: RefinementConfig, steps: int) -> bool:
    """True if no refinement step is configured."""
    return steps + config.settling_steps == 0


def refine_atoms(
    observation: Observation,
    atoms: Atoms,
    array: RISArray,
    field_of_view: FieldOfView,
    config: RefinementConfig,
    steps: int | tf.Tensor,
    prune_llr: float | tf.Tensor | None = None,
) -> tuple[Atoms, Evaluation]:
    """Joint Fisher scoring of the atoms of a scene, with accept or reject per scene and pruning.

    Two atoms on one source both have a low log-likelihood ratio and are pruned together. The next round of greedy
    selection adds one of them again. Parameters stay within a margin of the field of view.

    Args:
      observation: B scenes.
      atoms: initial atoms.
      array, field_of_view, config: the installation, and the settings.
      steps: number of steps of all scenes, with one likelihood evaluation each. A tensor must be at least one if
        `config.settling_steps` is zero.
      prune_llr: replaces `config.prune_llr`.

    Returns:
      The atoms and the likelihood at them. After few steps an active atom may still be below the threshold.
    """
    if isinstance(steps, int) and skips_refinement(config, steps):
        return atoms, evaluate_atoms(observation, atoms, array)
    least = config.prune_llr if prune_llr is None else prune_llr
    damping = tf.fill([tf.shape(atoms.active)[0]], DAMPING_START)
    state = _State(active_first(atoms), damping, _placeholder(atoms))
    all_scenes = tf.range(tf.size(damping))
    shapes = (tf.TensorShape([]), tf.TensorShape([None]), tf.nest.map_structure(lambda value: value.shape, state))

    def phase(number: tf.Tensor, scenes: tf.Tensor, state: _State) -> tuple[tf.Tensor, tf.Tensor, _State]:
        """In phase 0 all scenes take `steps` steps, in phase 1 the ones that have not converged take more.

        Scenes that use the same number of slots are solved together, as systems of that size.
        """
        first, stop = number * (steps + 1) - 1, steps + number * config.settling_steps
        used = used_slots(tf.gather(state.atoms.active, scenes))
        counts = tf.unique(used).y

        def group(turn: tf.Tensor, unsettled: tf.Tensor, state: _State) -> tuple[tf.Tensor, tf.Tensor, _State]:
            some = tf.boolean_mask(scenes, used == counts[turn])
            whole = take_scenes(state, some)
            here = _cropped(whole, counts[turn])
            moved, settled = _advance(
                take_scenes(observation, some), here, array, field_of_view, config, least, first, stop
            )
            unsettled = tf.concat([unsettled, tf.boolean_mask(some, ~settled)], axis=0)
            return turn + 1, unsettled, put_scenes(state, some, _restored(moved, whole))

        loop = (tf.constant(0), scenes[:0], state)
        _, unsettled, state = tf.while_loop(
            lambda turn, *_: turn < tf.size(counts), group, loop, shape_invariants=shapes
        )
        return number + 1, unsettled, state

    def unfinished(number: tf.Tensor, scenes: tf.Tensor, state: _State) -> tf.Tensor:
        del state
        return (number <= int(config.settling_steps > 0)) & (tf.size(scenes) > 0)

    _, _, state = tf.while_loop(unfinished, phase, (tf.constant(0), all_scenes, state), shape_invariants=shapes)
    return state.atoms, state.evaluation


def _highest_of_three(volume: tf.Tensor, axis: int) -> tf.Tensor:
    """Maximum of each entry and its two neighbours along an axis."""
    along = np.eye(4, dtype=np.int32)[axis]
    padded = tf.pad(volume, np.outer(along, [1, 1]), constant_values=-np.inf)
    before, here, after = (tf.slice(padded, first * along, [-1, *volume.shape[1:]]) for first in range(3))
    return tf.maximum(tf.maximum(before, here), after)


def is_grid_peak(volume: tf.Tensor) -> tf.Tensor:
    """True at local maxima over 3 x 3 x 3 cells: [B, azimuth, elevation, range] float32 -> same shape, bool."""
    highest = volume
    for axis in (1, 2, 3):  # one axis at a time is three times as fast as max_pool3d
        highest = _highest_of_three(highest, axis)
    return volume >= highest


def grid_peaks(score: tf.Tensor, dictionary: PolarDictionary, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The highest 3 x 3 x 3 local maxima of a map [B, G] float32.

    Returns their indices [B, count] int32 and values [B, count] float32; -inf if there are fewer maxima.
    """
    volume = tf.reshape(score, [-1, *dictionary.config.shape])
    peaks = tf.where(is_grid_peak(volume), volume, np.float32(-np.inf))
    values, indices = tf.math.top_k(tf.reshape(peaks, [-1, dictionary.config.size]), count)
    return indices, values


def atoms_at(
    indices: tf.Tensor, powers: tf.Tensor, active: tf.Tensor, noise_power: tf.Tensor, dictionary: PolarDictionary
) -> Atoms:
    """Creates atoms at grid points: indices [B, A] int32, active [B, A] bool, noise_power [B] float32.

    `powers` [B, A] float32 are those of the unit-norm columns; they are converted to powers of the steering vectors.
    """
    axes = (dictionary.azimuth, dictionary.elevation, dictionary.inverse_range)
    coordinates = [tf.gather(axis, indices) for axis in axes]
    powers /= tf.gather(dictionary.norm2, indices)
    return Atoms(tf.stack([*coordinates, tf.math.log(tf.maximum(powers, 1e-6))], axis=-1), active, noise_power)
