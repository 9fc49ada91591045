"""Scenes of chosen columns and symbols, on a small surface, for the tests of reflections and of wrong columns."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.covariance_estimator.config import RefinementConfig
from models.covariance_estimator.likelihood import Evaluation, evaluate
from models.covariance_estimator.off_grid_refinement import Refinement
from models.covariance_estimator.paths import PARAMETERS_PER_PATH, Paths
from models.multipath.config import MultipathConfig
from models.multipath.estimation import MultipathModel, estimate_multipath
from models.multipath.mismatch import mismatch_ratio
from models.multipath.reflections import PathGrid, path_scores
from models.physics.geometry import RISArray, Scenario
from models.physics.observation import Observation
from models.physics.steering import steering_vectors

ARRAY = RISArray(8, 8)
GRID = PathGrid(ARRAY)
REFINEMENT = Refinement(Scenario(ARRAY), RefinementConfig())
NUM_SNAPSHOTS, NUM_ANTENNAS = 48, 8
DIRECT = (0.3, -0.1, 0.3)
REFLECTED = (-0.35, 0.25, 0.12)
OUTSIDE = (0.1, -1.0, 0.08)
"""An image below the floor, out of the field of view: azimuth, elevation (radians), inverse range (1/m)."""


def vectors_of(points, array: RISArray = ARRAY) -> np.ndarray:
    """[K, N] complex128."""
    return steering_vectors(*(tf.constant(column) for column in np.array(points, np.float64).T), array).numpy()


def normal(rng, *shape: int) -> np.ndarray:
    """CN(0, 1)."""
    return rng.normal(size=(*shape, 2)) @ [1, 1j] / np.sqrt(2.0)


def measured(rng, columns: np.ndarray, symbols: np.ndarray, snr_db: float, num_antennas: int = NUM_ANTENNAS) -> dict:
    """Snapshots of sources with those columns [K, N] in the domain of the surface and symbols [B, L, K]."""
    num_scenes, num_snapshots, _ = symbols.shape
    num_elements = columns.shape[-1]
    channel = normal(rng, num_scenes, num_antennas, num_elements)
    codes = np.exp(0.25j * np.pi * rng.integers(0, 8, (num_scenes, num_snapshots, num_elements)))
    clean = np.einsum("bmn,bln,blk,kn->blm", channel, codes, symbols, columns)
    noise = np.sqrt(np.mean(np.abs(clean) ** 2, axis=(1, 2), keepdims=True) / 10 ** (snr_db / 10.0))
    snapshots = clean + noise * normal(rng, *clean.shape)
    complex_arrays = {"snapshots": snapshots, "ris_codes": codes, "channel": channel}
    arrays = {name: tf.constant(value, tf.complex64) for name, value in complex_arrays.items()}
    return arrays | {"snr_db": tf.fill([num_scenes], np.float32(snr_db))}


def scenes_of(observation: Observation) -> Iterator[Observation]:
    """The scenes of a batch, each without the axis B."""
    return (observation.scene(number) for number in range(len(observation.snapshots)))


def paths_at(points, log_power, scene: Observation) -> Paths:
    """Sources without reflections at these points [A, 3]."""
    parameters = np.zeros((len(points), PARAMETERS_PER_PATH), np.float32)
    parameters[:, :3], parameters[:, 3] = points, log_power
    return Paths(tf.constant(parameters), tf.range(len(points)), scene.noise_power)


@tf.function(autograph=False)
def scored(scene: Observation, paths: Paths) -> MultipathModel:
    """The likelihood at these paths, without refinement."""
    evaluation = evaluate(scene, paths, ARRAY)
    return MultipathModel(paths, evaluation, path_scores(scene, paths, evaluation))


class Explained(NamedTuple):
    """The estimate for one scene, and the mismatch ratios of its sources [A]."""

    paths: Paths
    evaluation: Evaluation
    mismatch: tf.Tensor


@functools.cache
def _estimator(config: MultipathConfig) -> Callable[[Observation, Paths], Explained]:
    def estimate(scene: Observation, paths: Paths) -> Explained:
        refined = REFINEMENT(scene, paths, 6)
        found = estimate_multipath(scene, *refined, GRID, REFINEMENT, config)
        return Explained(found.paths, found.evaluation, mismatch_ratio(scene, *found, ARRAY))

    return tf.function(estimate, autograph=False)


def explained(
    observation: Observation, points, log_power, config: MultipathConfig = MultipathConfig()
) -> list[Explained]:
    """The estimates for all scenes, from sources at the same points in every scene."""
    estimate = _estimator(config)
    return [estimate(scene, paths_at(points, log_power, scene)) for scene in scenes_of(observation)]
