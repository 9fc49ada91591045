"""Joint damped Fisher scoring of sources and of the amplitudes of their reflected paths.

The directions of the paths follow by separate Gauss-Newton steps.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.covariance_estimator.batches import choose
from models.covariance_estimator.likelihood import PARAMETERS_PER_ATOM, Atoms
from models.covariance_estimator.off_grid_refinement import (
    DAMPING_DOWN,
    DAMPING_START,
    DAMPING_UP,
    MAX_STEP,
    NLL_RESOLUTION,
    Limits,
)
from models.multipath.config import MultipathConfig
from models.multipath.path_search import BEYOND, MAX_MOVE, curvature, path_scores, within_half_space
from models.multipath.paths import PathEvaluation, Paths, Unmixed, evaluate_paths
from models.physics.geometry import RISArray
from models.physics.observation import Observation
from models.physics.steering import steering_jacobian


class PathState(NamedTuple):
    """State of the refinement of sources and paths; damping is [B] float32."""

    atoms: Atoms
    paths: Paths
    damping: tf.Tensor
    evaluation: PathEvaluation
    unmixed: Unmixed


_PATH_SCALE = (1.0, 0.5)  # log power, phase
_LOG_POWER = (-13.8, 4.6)


def _scoring_step(observation: Observation, state: PathState, limits: Limits, array: RISArray) -> tuple[Atoms, Paths]:
    """Atoms and paths after the damped step -(F + lambda diag F)^-1 g, clipped to the limits."""
    atoms, paths, damping, evaluation, _ = state
    num_atoms, num_paths = atoms.active.shape[-1], paths.active.shape[-1]
    scale = np.concatenate([np.repeat(limits.scale, num_atoms), np.repeat(_PATH_SCALE, num_paths)]).astype(np.float32)
    fisher = evaluation.fisher * scale[:, None] * scale
    diagonal = tf.linalg.diag_part(fisher)
    loaded = diagonal * (1.0 + damping[:, None]) + tf.where(diagonal > 0, 1e-6, 1.0)
    chol = tf.linalg.cholesky(tf.linalg.set_diag(fisher, loaded))
    step = -tf.linalg.cholesky_solve(chol, (evaluation.gradient * scale)[..., None])[..., 0]
    step = tf.clip_by_value(step, -MAX_STEP, MAX_STEP) * scale
    of_atoms, log_power, phase = tf.split(step, [PARAMETERS_PER_ATOM * num_atoms, num_paths, num_paths], axis=-1)
    of_atoms = tf.linalg.matrix_transpose(tf.reshape(of_atoms, [-1, PARAMETERS_PER_ATOM, num_atoms]))
    moved = tf.clip_by_value(atoms.parameters + of_atoms, limits.low, limits.high)
    moved = tf.where(atoms.active[..., None], moved, atoms.parameters)
    noise_step = -evaluation.noise_gradient / (evaluation.noise_fisher * (1.0 + damping))
    noise_power = atoms.noise_power * tf.exp(tf.clip_by_value(noise_step, -MAX_STEP, MAX_STEP))
    noise_power = tf.clip_by_value(noise_power, *limits.noise_power)
    log_power = tf.clip_by_value(paths.log_power + log_power, *_LOG_POWER)
    return Atoms(moved, atoms.active, noise_power), paths._replace(
        points=_moved_points(observation, state, array), log_power=log_power, phase=paths.phase + phase
    )


def _moved_points(observation: Observation, state: PathState, array: RISArray) -> tf.Tensor:
    """Points after a Gauss-Newton step of each reflected path, with everything else fixed: [B, P, 3] float32.

    dNLL/dpsi = 2 Re(c^* a'^H w_k). The Fisher information uses a mean channel.
    """
    atoms, paths, damping, _, unmixed = state
    scores = tf.linalg.matrix_transpose(path_scores(observation, unmixed))  # [B, A, N]
    own = tf.gather(scores, paths.source, batch_dims=1)
    azimuth, elevation, inverse_range = tf.unstack(paths.points, axis=-1)
    vectors, slopes = steering_jacobian(azimuth, elevation, inverse_range, array)
    amplitude = paths.amplitudes()
    gradient = tf.math.real(tf.linalg.matvec(tf.math.conj(slopes), own) * tf.math.conj(amplitude)[..., None])
    num_antennas = tf.cast(observation.channel.shape[1], tf.float32)
    certainty = tf.gather(tf.reduce_sum(unmixed.certainty, axis=1), paths.source, batch_dims=1)
    weight = certainty * tf.abs(amplitude) ** 2 * num_antennas / atoms.noise_power[:, None]
    information = curvature(vectors, slopes) * weight[..., None, None]
    diagonal = tf.linalg.diag_part(information)
    information = tf.linalg.set_diag(information, diagonal * (1.05 + damping[:, None, None]) + 1e-6)
    step = -tf.linalg.cholesky_solve(tf.linalg.cholesky(information), gradient[..., None])[..., 0]
    limit = BEYOND * tf.gather(atoms.parameters[..., 2], paths.source, batch_dims=1)
    moved = within_half_space(paths.points + tf.clip_by_value(step, -MAX_MOVE, MAX_MOVE), limit)
    return tf.where(paths.active[..., None], moved, paths.points)


def _placeholder(observation: Observation, atoms: Atoms, paths: Paths) -> tuple[PathEvaluation, Unmixed]:
    """Placeholder evaluation: any real likelihood is better, nothing is pruned, the step is zero."""
    batch, num_snapshots = tf.unstack(tf.shape(observation.snapshots)[:2])
    num_antennas, num_atoms, num_paths = observation.channel.shape[1], atoms.active.shape[-1], paths.active.shape[-1]
    size = PARAMETERS_PER_ATOM * num_atoms + 2 * num_paths
    worst, flat = tf.fill([batch], np.float32(np.inf)), tf.zeros([batch])
    llr = tf.fill([batch, num_atoms + num_paths], np.float32(np.inf))
    llr, path_llr = tf.split(llr, [num_atoms, num_paths], axis=-1)
    gradient, fisher = tf.zeros([batch, size]), tf.zeros([batch, size, size])
    certainty = tf.zeros([batch, num_snapshots, num_atoms])
    unmixed = Unmixed(
        sources=tf.zeros([batch, num_snapshots, num_antennas, num_atoms], tf.complex64),
        snapshots=observation.snapshots,
        symbols=tf.cast(certainty, tf.complex64),
        certainty=certainty,
        root=tf.zeros([batch, num_snapshots, num_antennas, num_antennas], tf.complex64),
    )
    return PathEvaluation(worst, gradient, fisher, llr, path_llr, flat, flat + 1.0), unmixed


def refine_paths(
    observation: Observation,
    atoms: Atoms,
    paths: Paths,
    array: RISArray,
    limits: Limits,
    config: MultipathConfig,
    prune_llr: float,
) -> PathState:
    """Joint Fisher scoring of atoms and path amplitudes, from the given ones.

    Step -1 does not move: it evaluates the likelihood. The last step prunes instead of moving, if anything is prunable:
    atoms below `prune_llr` and paths below `config.min_llr`.
    """

    def body(step: tf.Tensor, state: PathState) -> tuple[tf.Tensor, PathState]:
        last = step == config.steps
        active = state.atoms.active & ~(state.evaluation.llr < prune_llr)
        kept = state.paths.active & (state.evaluation.path_llr >= config.min_llr)
        kept &= tf.gather(active, state.paths.source, batch_dims=1)
        pruned = (state.atoms._replace(active=active), state.paths._replace(active=kept))
        some = tf.reduce_any(active != state.atoms.active, -1) | tf.reduce_any(kept != state.paths.active, -1)
        stay = (last & some) | (step < 0)
        atoms, paths = choose(stay, pruned, _scoring_step(observation, state, limits, array))
        evaluation, unmixed = evaluate_paths(observation, atoms, paths, array)
        accept = stay | (evaluation.nll < state.evaluation.nll + NLL_RESOLUTION)
        damping = state.damping * tf.where(accept, DAMPING_DOWN, DAMPING_UP)
        new = PathState(atoms, paths, damping, evaluation, unmixed)
        return step + 1, choose(accept, new, state._replace(damping=damping))

    damping = tf.fill([tf.shape(atoms.active)[0]], np.float32(DAMPING_START / DAMPING_DOWN))  # step -1 is accepted
    start = PathState(atoms, paths, damping, *_placeholder(observation, atoms, paths))
    return tf.while_loop(lambda step, _: step <= config.steps, body, (tf.constant(-1), start))[1]
