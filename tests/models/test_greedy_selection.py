"""Greedy selection: log-likelihood ratios against the likelihood, and only scenes that get an atom are processed."""

import dataclasses

import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from models.covariance_estimator.config import GridConfig, RefinementConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.greedy_selection import _filled, _first_least, _unexplained, add_atoms, best_peak
from models.covariance_estimator.likelihood import Atoms, evaluate_atoms
from models.covariance_estimator.new_atom import best_power
from models.covariance_estimator.off_grid_refinement import refine_atoms
from models.covariance_estimator.shared_refinement import SharedRefinement
from models.physics.geometry import FieldOfView, RISArray
from models.physics.observation import Observation, observe
from models.physics.steering import steering_vectors
from tests.models.test_off_grid_refinement import PLACES, POWERS, atoms_near

ARRAY, VIEW = RISArray(), FieldOfView()
GRID = PolarDictionary(ARRAY, VIEW, GridConfig())


@pytest.fixture(scope="module")
def observation() -> Observation:
    """Both sources of test_off_grid_refinement in scenes 0 and 2, only the first one in scenes 1 and 3; SNR 17 dB."""
    rng = np.random.default_rng(2)
    batch, num_snapshots, num_antennas = 4, 32, 12

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=(*shape, 2)) @ [1, 1j] / np.sqrt(2)

    channel = normal(batch, num_antennas, ARRAY.num_elements)
    codes = np.exp(2j * np.pi * rng.random((batch, num_snapshots, ARRAY.num_elements)))
    vectors = steering_vectors(*(tf.constant(x) for x in PLACES.T), ARRAY).numpy()
    symbols = normal(batch, num_snapshots, 2) * np.sqrt(POWERS)
    symbols[[1, 3], :, 1] = 0.0
    clean = np.einsum("bmn,bln,kn,blk->blm", channel, codes, vectors, symbols)
    power = np.mean(np.abs(clean) ** 2, axis=(1, 2), keepdims=True)
    snapshots = clean + np.sqrt(0.02 * power) * normal(*clean.shape)
    arrays = (tf.constant(x, tf.complex64) for x in (snapshots, codes, channel))
    return observe(*arrays, tf.fill([batch], np.float32(-10.0 * np.log10(0.02))))


@pytest.fixture(scope="module")
def first(observation: Observation) -> Atoms:
    """The first source of each scene, refined."""
    start = atoms_near(observation, PLACES[:1], POWERS[:1])
    return refine_atoms(observation, start, ARRAY, VIEW, RefinementConfig(), 10)[0]


def test_back_projection_is_the_adjoint(observation: Observation) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(*observation.snapshots.shape, 2)) @ [1, 1j]
    expected = np.einsum("blmn,blm->bln", observation.operator.numpy().conj(), values)
    found = observation.back_project(tf.constant(values, tf.complex64))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_unexplained_is_the_inverse_covariance_applied(observation: Observation, first: Atoms) -> None:
    basis, residual = _unexplained(observation, first, ARRAY)
    noise = first.noise_power.numpy()[:, None, None, None]
    response = observation.respond(first.steering(ARRAY)).numpy() * np.sqrt(first.powers().numpy())[:, None, None]
    covariance = response @ response.conj().swapaxes(-1, -2) + noise * np.eye(response.shape[2])
    inverse = np.linalg.inv(covariance.astype(np.complex128))
    basis = basis.numpy()
    low_rank = (np.eye(response.shape[2]) - basis @ basis.conj().swapaxes(-1, -2)) / noise
    np.testing.assert_allclose(low_rank, inverse, atol=1e-4 * np.abs(inverse).max())
    expected = np.einsum("blmn,bln->blm", inverse, observation.snapshots)
    np.testing.assert_allclose(residual, expected, atol=1e-3 * np.abs(expected).max())


def test_best_power_is_the_best() -> None:
    rng = np.random.default_rng(3)
    alpha = rng.uniform(0.5, 2.0, size=(16, 5)) * np.array([0.1, 1.0, 5.0, 30.0, 300.0])
    power = np.array([20.0, 2.0, 0.1, 0.5, 0.01])
    b = alpha * (1.0 + power * alpha) * rng.exponential(size=alpha.shape)
    found = best_power(tf.constant(alpha[None], tf.float32), tf.constant(b[None], tf.float32))[0].numpy()
    for column in range(5):

        def loss(log_power: float, a=alpha[:, column], seen=b[:, column]) -> float:
            loaded = 1.0 + np.exp(log_power) * a
            return float(np.sum(np.log(loaded) - np.exp(log_power) * seen / loaded))

        best = scipy.optimize.minimize_scalar(loss, bounds=(-10.0, 10.0), method="bounded")
        assert loss(np.log(found[column])) == pytest.approx(best.fun, abs=1e-2)


def test_log_likelihood_ratio_is_that_of_the_likelihood(observation: Observation, first: Atoms) -> None:
    """With two sources, a threshold just above the log-likelihood ratio rejects the atom, one just below accepts it."""
    config = RefinementConfig()
    new = best_peak(observation, first, GRID, config)
    np.testing.assert_array_equal(new.active[:, 0], [True, False, True, False])
    full = Atoms(*(tf.concat([part, part], 1) for part in (first.parameters, first.active)), first.noise_power)
    room = full._replace(active=tf.concat([first.active, tf.zeros_like(first.active)], 1))
    grown, added = _filled(room, new)
    np.testing.assert_array_equal(added, [True, False, True, False])
    before, after = (evaluate_atoms(observation, atoms, ARRAY).nll.numpy() for atoms in (room, grown))
    for scene in (0, 2):
        llr = before[scene] - after[scene]
        assert llr > config.prune_llr
        for share, expected in ((0.99, True), (1.01, False)):
            told = dataclasses.replace(config, prune_llr=float(share * llr))
            assert bool(best_peak(observation, first, GRID, told).active[scene, 0]) == expected


def test_complete_scenes_stay_as_they_are(observation: Observation, first: Atoms) -> None:
    evaluation = evaluate_atoms(observation, first, ARRAY)
    refinement = SharedRefinement(ARRAY, VIEW, RefinementConfig())
    atoms, reached = add_atoms(observation, first, evaluation, GRID, refinement, tf.fill([4], False))
    np.testing.assert_array_equal(np.sum(atoms.active, axis=1), [2, 1, 2, 1])
    for scene in (1, 3):
        np.testing.assert_array_equal(atoms.parameters[scene], first.parameters[scene])
        np.testing.assert_array_equal(reached.fisher[scene], evaluation.fisher[scene])
    again = evaluate_atoms(observation, atoms, ARRAY)
    np.testing.assert_allclose(reached.nll, again.nll, rtol=1e-5)


def test_first_least_of_each_owner() -> None:
    values, owner = tf.constant([3.0, 1.0, 1.0, 5.0, 2.0, 7.0]), tf.constant([0, 0, 0, 2, 2, 3])
    np.testing.assert_array_equal(_first_least(values, owner, 4), [1, 4, 5])
    assert _first_least(values[:0], owner[:0], 4).shape == (0,)
