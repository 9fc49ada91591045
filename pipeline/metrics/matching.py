"""Matching of found to true sources: assignment, gates and GOSPA (docs/evaluation.md)."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from scipy.optimize import linear_sum_assignment

from models.checked import Positive, checked
from models.physics.steering import source_positions_m

_PLACE = ("azimuth_deg", "elevation_deg", "range_m")


@checked(frozen=True)
class Gate:
    """Largest differences between a found and a true source that count as a hit; the limits are included."""

    azimuth_deg: Positive = 5.0
    """Largest azimuth difference, degrees."""
    elevation_deg: Positive = 5.0
    """Largest elevation difference, degrees."""
    range_m: Positive = 1.0
    """Largest range difference, metres."""


@dataclasses.dataclass(frozen=True)
class Sources:
    """The sources of B scenes with K slots each. Slots from num_sources on are unused and hold NaN.

    num_sources: [B] int64. azimuth_deg, elevation_deg, range_m, score: [B, K] float64. position_m: [B, K, 3] float64.
    position_cov_m2: [B, K, 3, 3] float64. bound_m: [B, K] float64, Cramer-Rao bound of the position error of true
    sources, or None. Scores and covariances are NaN where they are not known.
    """

    num_sources: np.ndarray
    azimuth_deg: np.ndarray
    elevation_deg: np.ndarray
    range_m: np.ndarray
    position_m: np.ndarray
    score: np.ndarray
    position_cov_m2: np.ndarray
    bound_m: np.ndarray | None = None

    @property
    def num_scenes(self) -> int:
        """B."""
        return self.num_sources.shape[0]

    @property
    def max_sources(self) -> int:
        """K."""
        return self.range_m.shape[1]

    @property
    def used(self) -> np.ndarray:
        """[B, K] bool: slots that hold a source."""
        return np.arange(self.max_sources) < self.num_sources[:, None]


def _used_slots(name: str, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """num_sources [B] int64 and the mask of the used slots, [B, K] bool; checks their shapes."""
    num_sources, slots = np.asarray(arrays["num_sources"], np.int64), np.asarray(arrays["range_m"])
    if slots.ndim != 2 or num_sources.shape != slots.shape[:1]:
        raise ValueError(
            f"{name}: expected num_sources [B] and range_m [B, K], got {num_sources.shape} and {slots.shape}"
        )
    if num_sources.size and not (num_sources.min() >= 0 and num_sources.max() <= slots.shape[1]):
        raise ValueError(
            f"{name}.num_sources: expected 0 to {slots.shape[1]}, got {num_sources.min()} to {num_sources.max()}"
        )
    return num_sources, np.arange(slots.shape[1]) < num_sources[:, None]


def _slot_values(name: str, values: np.ndarray, used: np.ndarray, tail: tuple[int, ...] = ()) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.shape != used.shape + tail:
        raise ValueError(f"{name}: expected shape {used.shape + tail}, got {values.shape}")
    return np.where(used.reshape(used.shape + (1,) * len(tail)), values, np.nan)


def true_sources(scenes: Mapping[str, np.ndarray]) -> Sources:
    """The true sources of a batch of simulated scenes.

    Keys: num_sources [B] int; azimuth and elevation [B, K], radians; range_m [B, K]; optionally bound_m [B, K], metres.
    """
    require_arrays("scenes", scenes, ("num_sources", "azimuth", "elevation", "range_m"))
    num_sources, used = _used_slots("scenes", scenes)
    azimuth, elevation, range_m = (
        _slot_values(f"scenes.{key}", scenes[key], used) for key in ("azimuth", "elevation", "range_m")
    )
    positions = source_positions_m(*(tf.constant(value, tf.float64) for value in (azimuth, elevation, range_m)))
    return Sources(
        num_sources=num_sources,
        azimuth_deg=np.degrees(azimuth),
        elevation_deg=np.degrees(elevation),
        range_m=range_m,
        position_m=positions.numpy(),
        score=np.full(used.shape, np.nan),
        position_cov_m2=np.full((*used.shape, 3, 3), np.nan),
        bound_m=_slot_values("scenes.bound_m", scenes["bound_m"], used) if "bound_m" in scenes else None,
    )


def found_sources(outputs: Mapping[str, np.ndarray]) -> Sources:
    """The sources that an estimator found in a batch of scenes.

    Keys: num_sources [B] int; azimuth_deg, elevation_deg and range_m [B, K]; position_m [B, K, 3]; optionally score [B,
    K] and position_cov_m2 [B, K, 3, 3].
    """
    require_arrays("outputs", outputs, ("num_sources", *_PLACE, "position_m"))
    num_sources, used = _used_slots("outputs", outputs)
    tails: dict[str, tuple[int, ...]] = {
        **dict.fromkeys((*_PLACE, "score"), ()),
        "position_m": (3,),
        "position_cov_m2": (3, 3),
    }
    return Sources(
        num_sources,
        **{
            key: _slot_values(f"outputs.{key}", outputs.get(key, np.full((*used.shape, *tail), np.nan)), used, tail)
            for key, tail in tails.items()
        },
    )


def require_arrays(name: str, arrays: Mapping[str, np.ndarray], keys: tuple[str, ...]) -> None:
    """Checks that all keys are present; the ValueError names the first that is missing."""
    for key in keys:
        if key not in arrays:
            raise ValueError(f"{name}.{key}: expected an array, got none (present: {', '.join(sorted(arrays))})")


@dataclasses.dataclass(frozen=True)
class MatchTable:
    """A table with one row for each pair, miss and false alarm, in scene order. All columns are [R].

    Values that a row does not have are NaN; slots, the indices in the two `Sources`, are then -1. azimuth_deg, ...: the
    found source. azimuth_error_deg, ...: found minus true, for pairs. position_error_m: distance between them. bound_m:
    Cramer-Rao bound of the position error of the true source. squared_mahalanobis: e^T C^-1 e of the position error e
    with the reported covariance C.
    """

    scene: np.ndarray
    true_slot: np.ndarray
    found_slot: np.ndarray
    true_azimuth_deg: np.ndarray
    true_elevation_deg: np.ndarray
    true_range_m: np.ndarray
    azimuth_deg: np.ndarray
    elevation_deg: np.ndarray
    range_m: np.ndarray
    score: np.ndarray
    azimuth_error_deg: np.ndarray
    elevation_error_deg: np.ndarray
    range_error_m: np.ndarray
    position_error_m: np.ndarray
    bound_m: np.ndarray
    squared_mahalanobis: np.ndarray

    @property
    def is_true(self) -> np.ndarray:
        """[R] bool: rows with a true source."""
        return self.true_slot >= 0

    @property
    def is_found(self) -> np.ndarray:
        """[R] bool: rows with a found source."""
        return self.found_slot >= 0

    @property
    def is_pair(self) -> np.ndarray:
        """[R] bool: rows with a true and a found source."""
        return self.is_true & self.is_found

    def hits(self, gate: Gate) -> np.ndarray:
        """[R] bool: pairs inside the gate, the true positives."""
        return (
            (np.abs(self.azimuth_error_deg) <= gate.azimuth_deg)
            & (np.abs(self.elevation_error_deg) <= gate.elevation_deg)
            & (np.abs(self.range_error_m) <= gate.range_m)
        )


def _distances_m(truth: Sources, found: Sources) -> np.ndarray:
    """Distances [B, K_true, K_found] in metres; NaN for unused slots and found sources that are not finite."""
    if truth.num_scenes != found.num_scenes:
        raise ValueError(
            f"num_sources: expected as many scenes in both, got {truth.num_scenes} true and {found.num_scenes} found"
        )
    difference = found.position_m[:, None, :, :] - truth.position_m[:, :, None, :]
    return np.linalg.norm(difference, axis=-1)


def _assign(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slots of the assignment with the least total cost; sources without any finite cost are not assigned."""
    usable = np.isfinite(cost)
    rows, columns = np.flatnonzero(usable.any(axis=1)), np.flatnonzero(usable.any(axis=0))
    true_index, found_index = linear_sum_assignment(cost[np.ix_(rows, columns)])
    return rows[true_index], columns[found_index]


def _scene_rows(distance: np.ndarray, num_true: int, num_found: int) -> tuple[np.ndarray, np.ndarray]:
    """(true_slot, found_slot) of one scene: pairs, then misses, then false alarms."""
    true_slot, found_slot = _assign(distance)
    misses = np.setdiff1d(np.arange(num_true), true_slot)
    false_alarms = np.setdiff1d(np.arange(num_found), found_slot)
    return (
        np.concatenate([true_slot, misses, np.full(false_alarms.size, -1)]),
        np.concatenate([found_slot, np.full(misses.size, -1), false_alarms]),
    )


def _take(values: np.ndarray, scene: np.ndarray, slot: np.ndarray) -> np.ndarray:
    """values[scene, slot], and NaN where slot is -1."""
    taken = values[scene, slot].copy()
    taken[slot < 0] = np.nan
    return taken


def _squared_mahalanobis(error: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """e^T C^-1 e, [R], of errors e [R, 3] and covariances C [R, 3, 3]; NaN unless C is finite and positive definite."""
    result = np.full(error.shape[0], np.nan)
    finite = np.isfinite(error).all(axis=-1) & np.isfinite(covariance).all(axis=(-2, -1))
    values, vectors = np.linalg.eigh(np.where(finite[:, None, None], covariance, np.eye(3)))
    usable = finite & (values[:, 0] > 0)
    projected = np.einsum("rij,ri->rj", vectors[usable], error[usable])
    result[usable] = np.sum(projected**2 / values[usable], axis=-1)
    return result


def match_sources(truth: Sources, found: Sources) -> MatchTable:
    """Assigns found to true sources in each scene so that the sum of distances is least (Hungarian algorithm).

    A found source whose position is not finite is not assigned: it is a false alarm.
    """
    distance = _distances_m(truth, found)
    slots = [_scene_rows(*scene) for scene in zip(distance, truth.num_sources, found.num_sources, strict=True)]
    scene = np.repeat(np.arange(truth.num_scenes), [true_slot.size for true_slot, _ in slots])
    empty = np.zeros(0, np.int64)
    true_slot = np.concatenate([empty] + [true for true, _ in slots])
    found_slot = np.concatenate([empty] + [found for _, found in slots])
    true_columns = {f"true_{key}": _take(getattr(truth, key), scene, true_slot) for key in _PLACE}
    found_columns = {key: _take(getattr(found, key), scene, found_slot) for key in (*_PLACE, "score")}
    azimuth_error, elevation_error, range_error = (found_columns[key] - true_columns[f"true_{key}"] for key in _PLACE)
    error = _take(found.position_m, scene, found_slot) - _take(truth.position_m, scene, true_slot)
    return MatchTable(
        scene=scene,
        true_slot=true_slot,
        found_slot=found_slot,
        **true_columns,
        **found_columns,
        azimuth_error_deg=azimuth_error - 360.0 * np.round(azimuth_error / 360.0),
        elevation_error_deg=elevation_error,
        range_error_m=range_error,
        position_error_m=np.linalg.norm(error, axis=-1),
        bound_m=np.full(scene.shape, np.nan) if truth.bound_m is None else _take(truth.bound_m, scene, true_slot),
        squared_mahalanobis=_squared_mahalanobis(error, _take(found.position_cov_m2, scene, found_slot)),
    )


@dataclasses.dataclass(frozen=True)
class Gospa:
    """The three parts of GOSPA with p = 2 and alpha = 2, for B scenes. All are [B], squared metres."""

    localisation_m2: np.ndarray
    missed_m2: np.ndarray
    false_m2: np.ndarray

    @property
    def distance_m(self) -> np.ndarray:
        """GOSPA, [B], metres: square root of the sum of the parts."""
        return np.sqrt(self.localisation_m2 + self.missed_m2 + self.false_m2)


def gospa(truth: Sources, found: Sources, cutoff_m: float) -> Gospa:
    """Generalised optimal sub-pattern assignment metric, p = 2, alpha = 2, with cut-off c in metres.

    GOSPA^2 = min over assignments of sum d^2 + c^2 / 2 (missed + false). A pair further apart than c counts as a miss
    and a false alarm. Rahmathullah, Garcia-Fernandez and Svensson, arXiv 1601.05585, proposition 1.
    """
    squared = np.minimum(_distances_m(truth, found), cutoff_m) ** 2
    localisation, assigned = np.zeros((2, truth.num_scenes))
    for index, cost in enumerate(squared):
        paired = cost[_assign(cost)]
        within = paired < cutoff_m**2
        localisation[index] = paired[within].sum()
        assigned[index] = within.sum()
    penalty = cutoff_m**2 / 2
    return Gospa(localisation, penalty * (truth.num_sources - assigned), penalty * (found.num_sources - assigned))
