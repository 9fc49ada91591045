"""Continuous stages: off-grid atoms refined jointly by damped Fisher scoring, pruned, and completed from the grid."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.dictionary import PolarDictionary
from models.geometry import FieldOfView, RISArray
from models.likelihood import PARAMETERS_PER_ATOM, Atoms, Evaluation, evaluate_atoms
from models.observation import Observation
from models.spectral_maps import atom_maps


@dataclasses.dataclass(frozen=True)
class ContinuousConfig:
    """Off-grid refinement of the backbone."""

    spare_atoms: int = 1
    """Atom slots beyond K_max."""
    steps: int = 6
    """Fisher scoring steps after the grid stages."""
    additions: int = 2
    """Rounds in which what the atoms leave unexplained may add atoms."""
    atoms_per_addition: int = 2
    """Atoms a round may add."""
    addition_steps: int = 4
    """Fisher scoring steps after each round."""
    prune_gain: float = 10.0
    """Log-likelihood an atom must be worth to stay."""
    prune_after: int = 3
    """Steps before the first atom may be dropped; one a step from there on."""
    noise_range_db: tuple[float, float] = (-3.0, 20.0)
    """Limits of the estimated noise power above the reported one, dB; (0, 0) trusts the report. What a mismatched
    channel, phase errors or dead elements add acts as noise that follows the signal."""

    def __post_init__(self) -> None:
        for field in ("steps", "addition_steps", "atoms_per_addition"):
            if getattr(self, field) < 1:
                raise ValueError(f"ContinuousConfig.{field}: expected at least 1, got {getattr(self, field)!r}")
        for field in ("spare_atoms", "additions", "prune_after", "prune_gain"):
            if getattr(self, field) < 0:
                raise ValueError(f"ContinuousConfig.{field}: expected at least 0, got {getattr(self, field)!r}")
        if not self.noise_range_db[0] <= 0.0 <= self.noise_range_db[1]:
            raise ValueError(
                f"ContinuousConfig.noise_range_db: expected (low, high) about 0, got {self.noise_range_db!r}"
            )


_STEP_SCALE = (0.05, 0.05, 0.1, 1.0)  # azimuth, elevation, inverse range, log power
_MAX_STEP = 2.0
_DAMPING_START, _DAMPING_DOWN, _DAMPING_UP = 0.1, 0.3, 6.0
_NLL_RESOLUTION = 5e-3  # float32 can't tell closer values apart; the last Newton steps must not be refused for it
_ANGLE_MARGIN = math.radians(3.0)
_INVERSE_RANGE_MARGIN = (0.05, 0.3)  # 1/m: an estimate may pass the far edge, the decision brings it back


class _State(NamedTuple):
    atoms: Atoms
    damping: tf.Tensor
    evaluation: Evaluation


class _Limits(NamedTuple):
    low: np.ndarray
    high: np.ndarray
    noise_power: tuple[tf.Tensor, tf.Tensor]


def _limits(field_of_view: FieldOfView, reported: tf.Tensor, noise_range_db: tuple[float, float]) -> _Limits:
    low_w, high_w = field_of_view.inverse_range
    low = [field_of_view.azimuth[0] - _ANGLE_MARGIN, field_of_view.elevation[0] - _ANGLE_MARGIN]
    high = [field_of_view.azimuth[1] + _ANGLE_MARGIN, field_of_view.elevation[1] + _ANGLE_MARGIN]
    low += [max(low_w - _INVERSE_RANGE_MARGIN[0], 0.2 * low_w), math.log(1e-6)]
    high += [high_w + _INVERSE_RANGE_MARGIN[1], math.log(1e2)]
    noise_power = (reported * 10.0 ** (noise_range_db[0] / 10.0), reported * 10.0 ** (noise_range_db[1] / 10.0))
    return _Limits(np.array(low, np.float32), np.array(high, np.float32), noise_power)


def _scoring_step(state: _State, limits: _Limits) -> Atoms:
    """The damped step -(F + lambda diag F)^-1 g, clipped, inside the limits."""
    parameters, active, noise_power = state.atoms
    batch = tf.shape(active)[0]
    num_atoms = active.shape[-1]
    scale = tf.repeat(tf.constant(_STEP_SCALE), num_atoms)
    fisher = state.evaluation.fisher * scale[:, None] * scale[None, :]
    gradient = state.evaluation.gradient * scale
    diagonal = tf.linalg.diag_part(fisher)
    loaded = diagonal * (1.0 + state.damping[:, None]) + tf.where(diagonal > 0, 1e-6, 1.0)
    chol = tf.linalg.cholesky(tf.linalg.set_diag(fisher, loaded))
    step = -tf.linalg.cholesky_solve(chol, gradient[..., None])[..., 0]
    step = tf.reshape(tf.clip_by_value(step, -_MAX_STEP, _MAX_STEP) * scale, [batch, PARAMETERS_PER_ATOM, num_atoms])
    moved = tf.clip_by_value(parameters + tf.linalg.matrix_transpose(step), limits.low, limits.high)
    noise_step = -state.evaluation.noise_gradient / (state.evaluation.noise_fisher * (1.0 + state.damping))
    noise_power *= tf.exp(tf.clip_by_value(noise_step, -_MAX_STEP, _MAX_STEP))
    noise_power = tf.clip_by_value(noise_power, limits.noise_power[0], limits.noise_power[1])
    return Atoms(tf.where(active[..., None], moved, parameters), active, noise_power)


def _choose(accept: tf.Tensor, new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.reshape(accept, [-1] + [1] * (new.shape.rank - 1)), new, old)


def refine_atoms(
    observation: Observation,
    atoms: Atoms,
    array: RISArray,
    field_of_view: FieldOfView,
    config: ContinuousConfig,
    steps: int,
) -> tuple[Atoms, Evaluation]:
    """Joint Fisher scoring with accept or reject a scene, dropping the weakest atom while it is not worth its gain.

    Args:
      observation: the scenes.
      atoms: where to start.
      array, field_of_view: the installation; parameters stay within a margin of the field of view.
      config: pruning.
      steps: likelihood evaluations after the first.

    Returns:
      The atoms and the likelihood there; every active atom may still be below the pruning gain after few steps.
    """
    limits = _limits(field_of_view, observation.noise_power, config.noise_range_db)
    num_atoms = atoms.active.shape[-1]

    def body(step: tf.Tensor, state: _State) -> tuple[tf.Tensor, _State]:
        gains = tf.where(state.atoms.active, state.evaluation.gains, np.float32(np.inf))
        prune = (tf.reduce_min(gains, axis=-1) < config.prune_gain) & (step >= config.prune_after)
        weakest = tf.one_hot(tf.argmin(gains, axis=-1), num_atoms, on_value=True, off_value=False)
        active = state.atoms.active & ~(weakest & prune[:, None])
        pruned = state.atoms._replace(active=active)
        moved = _scoring_step(state, limits)
        candidate = Atoms(*(_choose(prune, a, b) for a, b in zip(pruned, moved, strict=True)))
        evaluation = evaluate_atoms(observation, candidate, array)
        accept = prune | (evaluation.nll < state.evaluation.nll + _NLL_RESOLUTION)
        factor = tf.where(prune, 1.0, tf.where(accept, _DAMPING_DOWN, _DAMPING_UP))
        chosen = _State(
            Atoms(*(_choose(accept, a, b) for a, b in zip(candidate, state.atoms, strict=True))),
            tf.clip_by_value(state.damping * factor, 1e-4, 1e4),
            Evaluation(*(_choose(accept, a, b) for a, b in zip(evaluation, state.evaluation, strict=True))),
        )
        return step + 1, chosen

    damping = tf.fill([tf.shape(atoms.active)[0]], _DAMPING_START)
    start = _State(atoms, damping, evaluate_atoms(observation, atoms, array))
    _, state = tf.while_loop(lambda step, _: step < steps, body, (tf.constant(0), start))
    return state.atoms, state.evaluation


def grid_peaks(score: tf.Tensor, dictionary: PolarDictionary, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The highest 3 x 3 x 3 local maxima of a map.

    Args:
      score: [B, G] float32.
      dictionary: the grid.
      count: peaks wanted.

    Returns:
      indices [B, count] int32 into the grid and their score [B, count], -inf where there is no further maximum.
    """
    volume = tf.reshape(score, [-1, *dictionary.config.shape, 1])
    highest = tf.nn.max_pool3d(volume, 3, 1, "SAME")
    peaks = tf.where(volume >= highest, volume, np.float32(-np.inf))
    values, indices = tf.math.top_k(tf.reshape(peaks, [-1, dictionary.config.size]), count)
    return indices, values


def atoms_at(
    indices: tf.Tensor, powers: tf.Tensor, active: tf.Tensor, noise_power: tf.Tensor, dictionary: PolarDictionary
) -> Atoms:
    """Atoms at grid points: indices, powers, active [B, A]; noise_power [B]."""
    axes = (dictionary.azimuth, dictionary.elevation, dictionary.inverse_range)
    coordinates = [tf.gather(axis, indices) for axis in axes]
    return Atoms(tf.stack([*coordinates, tf.math.log(tf.maximum(powers, 1e-6))], axis=-1), active, noise_power)


def add_atoms(
    observation: Observation, atoms: Atoms, dictionary: PolarDictionary, array: RISArray, config: ContinuousConfig
) -> Atoms:
    """Fills free slots with the grid points that would raise the likelihood most beyond the atoms there are.

    Args:
      observation: the scenes.
      atoms: refined atoms.
      dictionary, array: the grid and the surface.
      config: how many, and the gain a new atom must promise.
    """
    zero = tf.zeros_like(observation.noise_power)
    maps = atom_maps(observation, dictionary, atoms.steering(array), atoms.powers(), zero, atoms.noise_power)
    gain = maps.gain(tf.shape(observation.snapshots)[1])
    indices, gains = grid_peaks(gain, dictionary, config.atoms_per_addition)
    powers = tf.gather(maps.newton_power(), indices, batch_dims=1)
    new = atoms_at(indices, powers, gains > config.prune_gain, atoms.noise_power, dictionary)
    parameters = tf.concat([atoms.parameters, new.parameters], axis=1)
    active = tf.concat([atoms.active, new.active], axis=1)
    rank = tf.where(active, tf.exp(parameters[..., 3]), -1.0)  # the strongest keep their slots
    keep = tf.math.top_k(rank, atoms.active.shape[-1]).indices
    kept = [tf.gather(values, keep, batch_dims=1) for values in (parameters, active)]
    return Atoms(kept[0], kept[1], atoms.noise_power)
