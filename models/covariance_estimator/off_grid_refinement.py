"""Off-grid refinement: joint damped Fisher scoring of all paths of a scene, with pruning."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.batches import scene_by_scene
from models.covariance_estimator.atoms import PARAMETERS_PER_ATOM, Atoms, atom_specs
from models.covariance_estimator.config import RefinementConfig
from models.covariance_estimator.likelihood import Evaluation, evaluate, evaluation_specs
from models.covariance_estimator.paths import Paths, direct_paths, path_specs
from models.physics.geometry import Scenario
from models.physics.observation import Observation, scene_specs

# Azimuth, elevation, inverse range, log power, phase. The first three and the margins scale with the surface's
# resolution.
STEP_SCALE = (0.05, 0.05, 0.1, 1.0, 0.5)
MAX_STEP = 2.0
DAMPING_START, DAMPING_DOWN, DAMPING_UP = 0.1, 0.3, 6.0
_LEAST_DAMPING = 1e-4  # two sources at one place have a singular F
NLL_RESOLUTION = 5e-3  # resolution of the NLL in float32; smaller increases are accepted
BEYOND = 0.9
"""Largest ratio of the inverse range of a reflected path to that of its source. A reflected path is longer."""
_ANGLE_MARGIN = math.radians(3.0)
_INVERSE_RANGE_MARGIN = (0.05, 0.3)  # 1/m; estimates may exceed the largest range, the decision clips them
_WIDEST_ANGLE = 1.5  # radians; of reflected paths, which may come from outside the field of view
_LEAST_INVERSE_RANGE = 1e-3  # 1/m
_LOG_POWER = (math.log(1e-6), math.log(1e2))


class Limits(NamedTuple):
    """Limits and units of a step.

    low, high: limits of the parameters of direct paths, [5] float32.
    scale: units of a step of these parameters, [5] float32.
    noise_power: lowest and highest noise power, [] float32 each.
    """

    low: np.ndarray
    high: np.ndarray
    scale: np.ndarray
    noise_power: tuple[tf.Tensor, tf.Tensor]


def parameter_limits(scenario: Scenario, reported: tf.Tensor, noise_range_db: tuple[float, float]) -> Limits:
    """Limits of the parameters: the field of view plus a margin, and noise powers around the reported one.

    `reported` is the reported noise power, [] float32; `noise_range_db` is relative to it, dB.
    """
    view, wider = scenario.field_of_view, scenario.array.relative_resolution
    low_w, high_w = view.inverse_range
    margins = _ANGLE_MARGIN * np.minimum(wider[:2], 1.0)
    low = [view.azimuth[0] - margins[0], view.elevation[0] - margins[1]]
    high = [view.azimuth[1] + margins[0], view.elevation[1] + margins[1]]
    low += [max(low_w - wider[2] * _INVERSE_RANGE_MARGIN[0], 0.2 * low_w), _LOG_POWER[0], -np.inf]
    high += [high_w + wider[2] * _INVERSE_RANGE_MARGIN[1], _LOG_POWER[1], np.inf]
    scale = np.array(STEP_SCALE) * np.append(wider, [1.0, 1.0])
    noise_power = (reported * 10.0 ** (noise_range_db[0] / 10.0), reported * 10.0 ** (noise_range_db[1] / 10.0))
    single = [np.array(values, np.float32) for values in (low, high, scale)]
    return Limits(single[0], single[1], single[2], noise_power)


def within_limits(parameters: tf.Tensor, source: tf.Tensor, limits: Limits) -> tf.Tensor:
    """Clips parameters of paths [..., P, 5] to the field of view, those of reflected paths to the half space.

    A reflected path must be longer than the direct path of its source.
    """
    low = np.array([-_WIDEST_ANGLE, -_WIDEST_ANGLE, _LEAST_INVERSE_RANGE, _LOG_POWER[0], -np.inf], np.float32)
    high = np.array([_WIDEST_ANGLE, _WIDEST_ANGLE, np.inf, _LOG_POWER[1], np.inf], np.float32)
    direct = (source == tf.range(tf.size(source)))[:, None]
    parameters = tf.clip_by_value(parameters, tf.where(direct, limits.low, low), tf.where(direct, limits.high, high))
    return longer_than_direct(parameters, source)


def longer_than_direct(parameters: tf.Tensor, source: tf.Tensor) -> tf.Tensor:
    """Makes reflected paths longer than the direct path of their source: parameters [..., P, 5], source [P]."""
    inverse_range = parameters[..., 2]
    limit = BEYOND * tf.gather(inverse_range, source, axis=-1)
    direct = source == tf.range(tf.size(source))
    inverse_range = tf.where(direct, inverse_range, tf.minimum(inverse_range, limit))
    return tf.concat([parameters[..., :2], inverse_range[..., None], parameters[..., 3:]], axis=-1)


class Step(NamedTuple):
    """Two steps from the same paths, with the present damping and with the least one.

    parameters: [2, P, 5]; noise_power: [2]; promise: predicted improvement of the log-likelihood, [2]; float32.
    """

    parameters: tf.Tensor
    noise_power: tf.Tensor
    promise: tf.Tensor


def scoring_step(paths: Paths, evaluation: Evaluation, damping: tf.Tensor, limits: Limits) -> Step:
    """The steps -(F + lambda diag F)^-1 g within the limits, for lambda = `damping` [] and for the least lambda."""
    parameters, source, noise_power = paths
    count, num_sources = paths.count, paths.num_sources
    damping = tf.stack([damping, _LEAST_DAMPING])
    last = PARAMETERS_PER_ATOM
    phase_scale = tf.fill([count - num_sources], limits.scale[last])
    scale = tf.concat([tf.repeat(limits.scale[:last], count), phase_scale], axis=0)
    fisher = evaluation.fisher * scale[:, None] * scale
    gradient = evaluation.gradient * scale
    diagonal = tf.linalg.diag_part(fisher)
    loaded = tf.linalg.diag(diagonal * damping[:, None] + 1e-6) + fisher
    steps = -tf.linalg.cholesky_solve(tf.linalg.cholesky(loaded), tf.stack([gradient, gradient])[..., None])[..., 0]
    steps = tf.clip_by_value(steps, -MAX_STEP, MAX_STEP) * scale
    size = last * count
    places = tf.transpose(tf.reshape(steps[:, :size], [2, last, count]), [0, 2, 1])
    phases = tf.pad(steps[:, size:], [[0, 0], [num_sources, 0]])
    moved = within_limits(parameters + tf.concat([places, phases[..., None]], axis=-1), source, limits)
    noise_step = -evaluation.noise_gradient / (evaluation.noise_fisher * (1.0 + damping))
    moved_noise = noise_power * tf.exp(tf.clip_by_value(noise_step, -MAX_STEP, MAX_STEP))
    moved_noise = tf.clip_by_value(moved_noise, *limits.noise_power)
    slopes = tf.transpose(tf.reshape(evaluation.gradient[:size], [last, count]))
    promise = tf.reduce_sum(slopes * (moved - parameters)[..., :last], axis=(1, 2))
    promise += tf.linalg.matvec(steps[:, size:], evaluation.gradient[size:])
    promise += evaluation.noise_gradient * tf.math.log(moved_noise / noise_power)
    return Step(moved, moved_noise, -0.5 * promise)


def _nothing(num_antennas: int) -> Evaluation:
    """An evaluation of no paths: any other is better."""
    specs = tf.nest.map_structure(
        lambda spec: tf.zeros([num_antennas if size == num_antennas else 0 for size in spec.shape], spec.dtype),
        evaluation_specs(num_antennas),
    )
    return specs._replace(nll=tf.constant(np.inf, tf.float32))


class _State(NamedTuple):
    """State after `number` evaluations.

    trial: paths to evaluate next; forced: whether they replace the present ones even if they are less likely.
    paths, evaluation: the present ones.
    settled: [] bool; whether `trial` is the last step after convergence, which needs no evaluation.
    """

    number: tf.Tensor
    trial: Paths
    forced: tf.Tensor
    paths: Paths
    evaluation: Evaluation
    damping: tf.Tensor
    settled: tf.Tensor


class Refinement:
    """Joint Fisher scoring of the paths of one scene, as one graph function that all calls share.

    Two sources at one place both have a low log-likelihood ratio and are pruned together. The next round of greedy
    selection adds one of them again. Parameters stay within a margin of the field of view.

    Args:
      scenario: the installation.
      config: number of steps, tolerance, threshold for pruning sources.
    """

    def __init__(self, scenario: Scenario, config: RefinementConfig) -> None:
        self.scenario, self.config = scenario, config
        self._shared = functools.cache(self._traced)

    def __call__(
        self,
        observation: Observation,
        paths: Paths,
        steps: int | tf.Tensor,
        prune_llr: float | None = None,
        prune_path_llr: float = 0.0,
    ) -> tuple[Paths, Evaluation]:
        """Refines paths and evaluates the likelihood. Has no gradient.

        Args:
          observation: one scene, without the axis B.
          paths: initial paths.
          steps: number of steps; scenes that have not converged then take up to `config.settling_steps` more.
          prune_llr: smallest log-likelihood ratio of a source; None for `config.prune_llr`.
          prune_path_llr: smallest log-likelihood ratio of a reflected path, after these steps.

        Returns:
          The paths and the likelihood at them. After convergence the paths take one last step without evaluation.
          After few steps a source may still be below the threshold.
        """
        shared = self._shared(*observation.channel.shape)
        least = self.config.prune_llr if prune_llr is None else prune_llr
        levels = (tf.constant(least, tf.float32), tf.constant(prune_path_llr, tf.float32))
        return shared(observation, paths, tf.convert_to_tensor(steps), *levels)

    def _traced(self, num_antennas: int, num_elements: int) -> tf.types.experimental.ConcreteFunction:
        function = tf.function(self._refined, autograph=False, experimental_attributes={"_noinline": True})
        number, level = tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.float32)
        specs = scene_specs(num_antennas, num_elements)
        return function.get_concrete_function(specs, path_specs(), number, level, level)

    def _refined(
        self,
        observation: Observation,
        paths: Paths,
        steps: tf.Tensor,
        prune_llr: tf.Tensor,
        prune_path_llr: tf.Tensor,
    ) -> tuple[Paths, Evaluation]:
        config, num_antennas = self.config, observation.channel.shape[0]
        limits = parameter_limits(self.scenario, observation.noise_power, config.noise_range_db)

        def body(state: _State) -> tuple[_State]:
            number, trial, forced, paths, evaluation, damping, _ = state
            found = evaluate(observation, trial, self.scenario.array)
            accept = forced | (found.nll < evaluation.nll + NLL_RESOLUTION)
            paths, evaluation = tf.cond(accept, lambda: (trial, found), lambda: (paths, evaluation))
            damping = tf.where(forced, damping, damping * tf.where(accept, DAMPING_DOWN, DAMPING_UP))
            damping = tf.clip_by_value(damping, _LEAST_DAMPING, 1e4)
            weak = evaluation.path_llr < prune_path_llr
            prunable = tf.concat([evaluation.llr < prune_llr, weak & (number >= steps)], axis=0)
            prunable |= tf.gather(prunable, paths.source)
            some = tf.reduce_any(prunable)
            prunes = some & (number >= config.prune_after)
            step = scoring_step(paths, evaluation, damping, limits)
            settled = ~some & (step.promise[1] < config.tolerance)
            which = tf.cast(settled, tf.int32)
            moved = Paths(step.parameters[which], paths.source, step.noise_power[which])
            trial = tf.cond(prunes, lambda: paths.select(~prunable), lambda: moved)
            return (_State(number + 1, trial, prunes, paths, evaluation, damping, settled),)

        def unfinished(state: _State) -> tf.Tensor:
            longest = steps + config.settling_steps
            return (state.number <= steps) | (~state.settled & (state.number <= longest))

        yes = tf.constant(True)
        start = _State(
            number=tf.constant(0),
            trial=paths,
            forced=yes,
            paths=paths,
            evaluation=_nothing(num_antennas),
            damping=tf.constant(DAMPING_START),
            settled=~yes,
        )
        shapes = _State(
            tf.TensorShape([]),
            tf.nest.map_structure(lambda spec: spec.shape, path_specs()),
            tf.TensorShape([]),
            tf.nest.map_structure(lambda spec: spec.shape, path_specs()),
            tf.nest.map_structure(lambda spec: spec.shape, evaluation_specs(num_antennas)),
            tf.TensorShape([]),
            tf.TensorShape([]),
        )
        state = tf.while_loop(unfinished, body, (start,), shape_invariants=(shapes,))[0]
        moves = state.settled & (steps + config.settling_steps > 0)
        paths = tf.cond(moves, lambda: state.trial, lambda: state.paths)
        return paths, state.evaluation._replace(settled=state.settled)


def atoms_scene_by_scene(
    work: Callable[[Observation, Atoms], tuple[Paths, Evaluation]],
    observation: Observation,
    atoms: Atoms,
    slots: int | None,
) -> tuple[Atoms, tf.Tensor]:
    """Applies `work` to every scene of a batch and its atoms, both without the axis B. Has no gradient.

    Returns the direct paths as atoms in `slots` slots (None: as many as given), and the negative log-likelihoods, [B]
    float32.
    """

    def one_scene(given: tuple[Observation, Atoms]) -> tuple[Atoms, tf.Tensor]:
        paths, evaluation = work(*given)
        size = tf.size(given[1].active) if slots is None else slots
        return Atoms(*(part[0] for part in paths.atoms(size))), evaluation.nll

    of_scene = Atoms(*(tf.TensorSpec(spec.shape[1:], spec.dtype) for spec in atom_specs(slots)))
    given = tf.nest.map_structure(tf.stop_gradient, (observation, atoms))
    return scene_by_scene(one_scene, given, (of_scene, tf.TensorSpec([], tf.float32)))


def refine_atoms(observation: Observation, atoms: Atoms, refinement: Refinement, steps: int) -> tuple[Atoms, tf.Tensor]:
    """Refines the atoms of a batch, scene by scene. Also returns the negative log-likelihoods, [B] float32."""
    return atoms_scene_by_scene(
        lambda scene, first: refinement(scene, direct_paths(*first), steps), observation, atoms, atoms.active.shape[-1]
    )
