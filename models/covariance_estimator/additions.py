"""Completing the atoms: what they leave unexplained is searched on the grid, and tested exactly off it.

Over the atoms already in S_l, a new atom a of power gamma gains

    sum_l gamma b_l / (1 + gamma alpha_l) - log(1 + gamma alpha_l),
    alpha_l = a^H Phi_l^H S_l^-1 Phi_l a,    b_l = |a^H Phi_l^H S_l^-1 y_l|^2.

The grid is searched for peaks of sum_l b_l, which costs one product with the dictionary; only the peaks get their
alpha_l, from the atoms' span by Woodbury's identity, sigma^2 S_l^-1 = I - U_l U_l^H.
"""

from typing import NamedTuple

import tensorflow as tf

from models.covariance_estimator.batches import put_scenes, take_scenes
from models.covariance_estimator.config import ContinuousConfig
from models.covariance_estimator.continuous import atoms_at, grid_peaks, refine_atoms
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.likelihood import Atoms, Evaluation
from models.physics.geometry import FieldOfView, RISArray
from models.physics.observation import Observation

_POWER_STEPS = 4


class _Unexplained(NamedTuple):
    """basis: U_l, [B, L, M, A] complex64. snapshots: S_l^-1 y_l, [B, L, M] complex64."""

    basis: tf.Tensor
    snapshots: tf.Tensor


def _unexplained(observation: Observation, atoms: Atoms, array: RISArray) -> _Unexplained:
    response = observation.respond(atoms.steering(array) * tf.cast(tf.sqrt(atoms.powers()), tf.complex64)[:, None])
    noise = tf.cast(atoms.noise_power, tf.complex64)[:, None, None, None]
    identity = tf.eye(atoms.active.shape[-1], dtype=tf.complex64)
    chol = tf.linalg.cholesky(tf.matmul(response, response, adjoint_a=True) + noise * identity)
    basis = tf.linalg.adjoint(tf.linalg.triangular_solve(chol, tf.linalg.adjoint(response)))
    snapshots = observation.snapshots[..., None]
    residual = snapshots - tf.matmul(basis, tf.matmul(basis, snapshots, adjoint_a=True))
    return _Unexplained(basis, (residual / noise)[..., 0])


def best_power(alpha: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The power at which a new atom gains most, by Fisher scoring in its logarithm.

    Args:
      alpha, b: [B, L, C] float32 as in the module's docstring.

    Returns:
      [B, C] float32, positive; meaningless where no power gains anything, that is where sum_l b_l <= sum_l alpha_l.
    """
    excess = tf.reduce_sum(b - alpha, axis=1)
    log_power = tf.math.log(tf.maximum(excess, 1e-6) / tf.reduce_sum(alpha**2, axis=1))
    for _ in range(_POWER_STEPS):
        loaded = tf.exp(log_power)[:, None] * alpha
        explained = loaded / (1.0 + loaded)
        seen = tf.exp(log_power)[:, None] * b / (1.0 + loaded) ** 2
        step = tf.reduce_sum(seen - explained, axis=1) / tf.reduce_sum(explained**2, axis=1)
        log_power += tf.clip_by_value(step, -1.0, 1.0)
    return tf.exp(log_power)


def add_atoms(
    observation: Observation, atoms: Atoms, dictionary: PolarDictionary, array: RISArray, config: ContinuousConfig
) -> tuple[Atoms, tf.Tensor]:
    """Adds the grid points that raise the likelihood most beyond the atoms there are.

    Where slots are short the strongest of old and new atoms have them: the caller sees whether that was a gain.

    Args:
      observation: the scenes.
      atoms: refined atoms.
      dictionary, array: the grid and the surface.
      config: how many are tried and added, and the gain a new atom must bring.

    Returns:
      The atoms, and whether a scene has a new one, [B] bool.
    """
    unexplained = _unexplained(observation, atoms, array)
    power_map = dictionary.beam_power(observation.back_project(unexplained.snapshots))
    indices, _ = grid_peaks(power_map, dictionary, config.candidates)
    response = observation.respond(tf.linalg.matrix_transpose(tf.gather(dictionary.vectors, indices)))
    inside = tf.matmul(unexplained.basis, response, adjoint_a=True)
    energy = tf.reduce_sum(tf.abs(response) ** 2, axis=2) - tf.reduce_sum(tf.abs(inside) ** 2, axis=2)
    alpha = tf.maximum(energy, 1e-6) / atoms.noise_power[:, None, None]
    b = tf.abs(tf.einsum("blm,blmc->blc", tf.math.conj(unexplained.snapshots), response)) ** 2
    powers = best_power(alpha, b)
    loaded = powers[:, None] * alpha
    gains = tf.reduce_sum(powers[:, None] * b / (1.0 + loaded) - tf.math.log1p(loaded), axis=1)
    gains, best = tf.math.top_k(gains, config.atoms_per_addition)
    indices, powers = (tf.gather(values, best, batch_dims=1) for values in (indices, powers))
    new = atoms_at(indices, powers, gains > config.prune_gain, atoms.noise_power, dictionary)
    return _filled(atoms, new)


def _filled(atoms: Atoms, new: Atoms) -> tuple[Atoms, tf.Tensor]:
    """The strongest of old and new atoms in the old ones' slots, and whether a new one is among them, [B] bool."""
    parameters = tf.concat([atoms.parameters, new.parameters], axis=1)
    active = tf.concat([atoms.active, new.active], axis=1)
    num_atoms = atoms.active.shape[-1]
    rank = tf.where(active, tf.exp(parameters[..., 3]), -1.0)
    keep = tf.math.top_k(rank, num_atoms).indices
    parameters, active = (tf.gather(values, keep, batch_dims=1) for values in (parameters, active))
    return Atoms(parameters, active, atoms.noise_power), tf.reduce_any(active & (keep >= num_atoms), axis=-1)


def complete_atoms(
    observation: Observation,
    atoms: Atoms,
    evaluation: Evaluation,
    dictionary: PolarDictionary,
    field_of_view: FieldOfView,
    config: ContinuousConfig,
) -> tuple[Atoms, Evaluation]:
    """Rounds of adding and refining atoms; a scene that gains none has had its last round and costs no more.

    A round that ends less likely than it began, as an added atom may take a slot in vain, is undone.

    Args:
      observation: the scenes.
      atoms, evaluation: refined atoms and the likelihood there.
      dictionary, field_of_view, config: as for `add_atoms` and `refine_atoms`.
    """
    array = dictionary.array
    scenes = tf.range(tf.shape(atoms.active)[0])
    some, some_atoms = observation, atoms
    for _ in range(config.additions):
        grown, added = add_atoms(some, some_atoms, dictionary, array, config)
        kept = tf.where(added)[:, 0]
        scenes, some, grown = tf.gather(scenes, kept), take_scenes(some, kept), take_scenes(grown, kept)
        grown, reached = refine_atoms(some, grown, array, field_of_view, config, config.addition_steps)
        better = tf.where(reached.nll < tf.gather(evaluation.nll, scenes))[:, 0]
        scenes, some = tf.gather(scenes, better), take_scenes(some, better)
        some_atoms, reached = take_scenes((grown, reached), better)
        atoms, evaluation = put_scenes((atoms, evaluation), scenes, (some_atoms, reached))
    return atoms, evaluation
