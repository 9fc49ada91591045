"""Greedy selection of atoms: each round adds the best new atom and refines all atoms jointly.

For a full-rank channel a round finds the peaks of sum_l b_l (new_atom.py) on the grid, which costs one product with the
dictionary. It computes alpha_l at the peaks only, by Woodbury's identity sigma^2 S_l^-1 = I - U_l U_l^H. For a low-rank
channel it tests every grid point (exact_search.py).
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from models.covariance_estimator.batches import put_scenes, take_scenes
from models.covariance_estimator.config import RefinementConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.exact_search import search_grid
from models.covariance_estimator.likelihood import Atoms, Evaluation, error_covariance
from models.covariance_estimator.new_atom import best_power, llr_at
from models.covariance_estimator.off_grid_refinement import atoms_at, grid_peaks
from models.covariance_estimator.shared_refinement import SharedRefinement
from models.physics.config import PathLossConfig
from models.physics.geometry import RISArray
from models.physics.observation import Observation
from models.physics.path_loss import log_evidence


def _unexplained(observation: Observation, atoms: Atoms, array: RISArray) -> tuple[tf.Tensor, tf.Tensor]:
    """U_l, [B, L, M, A] complex64, and S_l^-1 y_l, [B, L, M] complex64."""
    response = observation.respond(atoms.steering(array) * tf.cast(tf.sqrt(atoms.powers()), tf.complex64)[:, None])
    noise = tf.cast(atoms.noise_power, tf.complex64)[:, None, None, None]
    identity = tf.eye(atoms.active.shape[-1], dtype=tf.complex64)
    chol = tf.linalg.cholesky(tf.matmul(response, response, adjoint_a=True) + noise * identity)
    basis = tf.linalg.adjoint(tf.linalg.triangular_solve(chol, tf.linalg.adjoint(response)))
    snapshots = observation.snapshots[..., None]
    residual = snapshots - tf.matmul(basis, tf.matmul(basis, snapshots, adjoint_a=True))
    return basis, (residual / noise)[..., 0]


def best_peak(observation: Observation, atoms: Atoms, dictionary: PolarDictionary, config: RefinementConfig) -> Atoms:
    """The peak of the unexplained power with the largest log-likelihood ratio, of `config.candidates` peaks.

    One atom per scene, [B, 1]; active if its log-likelihood ratio exceeds `config.prune_llr`.
    """
    basis, residual = _unexplained(observation, atoms, dictionary.array)
    power_map = dictionary.beam_power(observation.back_project(residual))
    indices, _ = grid_peaks(power_map, dictionary, config.candidates)
    response = observation.respond(tf.linalg.matrix_transpose(tf.gather(dictionary.vectors, indices)))
    inside = tf.matmul(basis, response, adjoint_a=True)
    energy = tf.reduce_sum(tf.abs(response) ** 2, axis=2) - tf.reduce_sum(tf.abs(inside) ** 2, axis=2)
    alpha = tf.maximum(energy, 1e-6) / atoms.noise_power[:, None, None]
    b = tf.abs(tf.einsum("blm,blmc->blc", tf.math.conj(residual), response)) ** 2
    powers = best_power(alpha, b)
    llr, best = tf.math.top_k(llr_at(powers, alpha, b), 1)
    indices, powers = (tf.gather(values, best, batch_dims=1) for values in (indices, powers))
    return atoms_at(indices, powers, llr > config.prune_llr, atoms.noise_power, dictionary)


def best_grid_points(
    observation: Observation, atoms: Atoms, dictionary: PolarDictionary, config: RefinementConfig
) -> Atoms:
    """The `config.low_rank_branches` highest maxima of the log-likelihood ratio over the grid, as alternative atoms.

    The threshold `config.low_rank_llr` is lower, because with a low-rank channel the log-likelihood ratio falls steeply
    between grid points.
    """
    found = search_grid(observation, atoms, dictionary, config.directions)
    indices, llr = grid_peaks(found.llr, dictionary, config.low_rank_branches)
    powers = tf.gather(found.power, indices, batch_dims=1)
    promising = llr > config.low_rank_llr
    return atoms_at(indices, powers, promising, atoms.noise_power, dictionary)


def _as_scenes(atoms: Atoms) -> Atoms:
    """Alternatives as scenes of one atom each: [B, C] -> [B C, 1]."""
    size = tf.size(atoms.active)
    noise_power = tf.repeat(atoms.noise_power, atoms.active.shape[-1])
    parameters = tf.reshape(atoms.parameters, [size, 1, atoms.parameters.shape[-1]])
    return Atoms(parameters, tf.reshape(atoms.active, [size, 1]), noise_power)


def _first_least(values: tf.Tensor, owner: tf.Tensor, num_owners: tf.Tensor) -> tf.Tensor:
    """Index of the first smallest value of each owner. `values` and `owner` are [S]; `owner` is ascending."""
    least = tf.math.unsorted_segment_min(values, owner, num_owners)
    which = tf.where(values <= tf.gather(least, owner))[:, 0]
    owners = tf.gather(owner, which)
    first = tf.concat([tf.ones_like(owners[:1], tf.bool), owners[1:] != owners[:-1]], axis=0)
    return tf.boolean_mask(which, first)


def path_loss_evidence(atoms: Atoms, evaluation: Evaluation) -> tf.Tensor:
    """Log evidence of the path-loss law for the atoms, [B] float32 (models.physics.path_loss)."""
    _, _, inverse_range, log_power = tf.unstack(atoms.parameters, axis=-1)
    covariance = error_covariance(atoms, evaluation)
    slope = -2.0 / inverse_range
    variance = covariance[..., 3, 3] + slope**2 * covariance[..., 2, 2] + 2.0 * slope * covariance[..., 2, 3]
    level = log_power - 2.0 * tf.math.log(inverse_range)
    return log_evidence(level, tf.maximum(variance, 0.0), atoms.active, PathLossConfig())


def _filled(atoms: Atoms, new: Atoms) -> tuple[Atoms, tf.Tensor]:
    """Keeps the strongest old and new atoms, in as many slots as before; also if a new one is kept, [B] bool."""
    parameters = tf.concat([atoms.parameters, new.parameters], axis=1)
    active = tf.concat([atoms.active, new.active], axis=1)
    num_atoms = atoms.active.shape[-1]
    rank = tf.where(active, tf.exp(parameters[..., 3]), -1.0)
    keep = tf.math.top_k(rank, num_atoms).indices
    parameters, active = (tf.gather(values, keep, batch_dims=1) for values in (parameters, active))
    return Atoms(parameters, active, atoms.noise_power), tf.reduce_any(active & (keep >= num_atoms), axis=-1)


def add_atoms(
    observation: Observation,
    atoms: Atoms,
    evaluation: Evaluation,
    dictionary: PolarDictionary,
    refinement: SharedRefinement,
    low_rank: tf.Tensor,
) -> tuple[Atoms, Evaluation]:
    """Greedy selection: each round adds an atom and refines all atoms. A scene that gets no atom leaves the loop.

    A round that lowers the likelihood is undone: an added atom can replace a better one if no slot is free.

    Args:
      observation: B scenes.
      atoms, evaluation: refined atoms and the likelihood at them.
      dictionary: the grid.
      refinement: refines after each addition; its config limits the rounds.
      low_rank: scenes with a low-rank channel, [B] bool.
    """
    config = refinement.config
    if config.additions == 0:
        return atoms, evaluation
    problem = _Problem(observation, dictionary, refinement)
    full_rank = _Schedule(best_peak, config.additions, config.addition_steps)
    state = _run_rounds(problem, ~low_rank, (atoms, evaluation), full_rank)
    exact = _Schedule(best_grid_points, config.low_rank_additions, config.low_rank_steps)
    return _run_rounds(problem, low_rank, state, exact)


class _Problem(NamedTuple):
    observation: Observation
    dictionary: PolarDictionary
    refinement: SharedRefinement


_Search = Callable[[Observation, Atoms, PolarDictionary, RefinementConfig], Atoms]


def _objective(atoms: Atoms, evaluation: Evaluation, config: RefinementConfig) -> tf.Tensor:
    """NLL plus a penalty per atom, minus the path-loss evidence, [B] float32; lower is better."""
    number = tf.reduce_sum(tf.cast(atoms.active, tf.float32), axis=-1)
    return evaluation.nll + config.prune_llr * number - path_loss_evidence(atoms, evaluation)


def _refine_alternatives(
    problem: _Problem, scenes: tf.Tensor, base: Atoms, new: Atoms, steps: int
) -> tuple[tf.Tensor, Atoms, Evaluation]:
    """Adds each alternative atom, refines, and keeps the best alternative of each scene.

    `scenes` [S] are the scenes to work on, `base` their present atoms, `new` the alternatives [S, C]. Returns the
    scenes that got an atom, as ascending indices [T] into `scenes`, their atoms and the likelihood at them.
    """
    observation, _, refinement = problem
    branches = new.active.shape[-1]
    owner = tf.repeat(tf.range(tf.size(scenes)), branches)
    grown, added = _filled(take_scenes(base, owner), _as_scenes(new))
    owner, grown = take_scenes((owner, grown), tf.where(added)[:, 0])
    some = take_scenes(observation, tf.gather(scenes, owner))
    grown, reached = refinement(some, grown, steps)
    if branches == 1:
        return owner, grown, reached
    best = _first_least(_objective(grown, reached, refinement.config), owner, tf.size(scenes))
    return take_scenes((owner, grown, reached), best)


class _Schedule(NamedTuple):
    """Search function of a round, largest number of rounds, and Fisher scoring steps after each."""

    search: _Search
    rounds: int
    steps: int


def _run_rounds(
    problem: _Problem, which: tf.Tensor, state: tuple[Atoms, Evaluation], schedule: _Schedule
) -> tuple[Atoms, Evaluation]:
    """Runs rounds for the scenes `which` [B] bool until none of them gets an atom."""
    observation, dictionary, refinement = problem

    def one_round(number: tf.Tensor, scenes: tf.Tensor, state: tuple[Atoms, Evaluation]):
        old, before = take_scenes(state, scenes)
        new = schedule.search(take_scenes(observation, scenes), old, dictionary, refinement.config)
        owner, grown, reached = _refine_alternatives(problem, scenes, old, new, schedule.steps)
        better = tf.where(reached.nll < tf.gather(before.nll, owner))[:, 0]
        scenes = tf.gather(scenes, tf.gather(owner, better))
        return number + 1, scenes, put_scenes(state, scenes, take_scenes((grown, reached), better))

    def unfinished(number: tf.Tensor, scenes: tf.Tensor, state: tuple[Atoms, Evaluation]) -> tf.Tensor:
        del state
        return (number < schedule.rounds) & (tf.size(scenes) > 0)

    _, _, state = tf.while_loop(unfinished, one_round, (tf.constant(0), tf.where(which)[:, 0], state))
    return state
