"""Scenes of chosen columns and symbols, on a small surface, for the tests of reflections and of wrong columns."""

import numpy as np
import tensorflow as tf

from models.covariance_estimator.config import RefinementConfig
from models.covariance_estimator.likelihood import Atoms
from models.covariance_estimator.off_grid_refinement import refine_atoms
from models.multipath.config import MultipathConfig
from models.multipath.estimation import MultipathEstimate, estimate_multipath
from models.multipath.path_search import PathGrid
from models.physics.geometry import FieldOfView, RISArray
from models.physics.steering import steering_vectors

ARRAY = RISArray(8, 8)
GRID = PathGrid(ARRAY)
VIEW = FieldOfView()
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


def atoms_at(points, log_power, observation) -> Atoms:
    """The same atoms in every scene."""
    parameters = np.concatenate([points, np.array(log_power)[:, None]], axis=-1).astype(np.float32)
    num_scenes = observation.snapshots.shape[0]
    parameters = tf.tile(parameters[None], [num_scenes, 1, 1])
    return Atoms(parameters, tf.ones([num_scenes, len(points)], tf.bool), observation.noise_power)


def explained(observation, atoms: Atoms, config: MultipathConfig = MultipathConfig()) -> MultipathEstimate:
    refinement = RefinementConfig()
    atoms, evaluation = refine_atoms(observation, atoms, ARRAY, VIEW, refinement, 6)
    return estimate_multipath(observation, atoms, evaluation, GRID, VIEW, refinement, config)
