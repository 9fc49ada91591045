"""The likelihood kernel against its definition in complex128."""

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.likelihood import Atoms, Evaluation, evaluate_atoms
from models.physics.geometry import RISArray
from models.physics.observation import observe
from tests.references import likelihood as reference

ARRAY = RISArray(4, 3)
PARAMETERS = np.array(
    [
        [[0.3, -0.2, 0.5, -0.4], [0.1, 0.1, 0.4, 0.0], [-0.6, 0.3, 1.2, -1.5]],
        [[-0.3, 0.4, 0.2, 0.3], [0.8, -0.1, 1.7, -2.0], [0.2, 0.2, 0.3, -0.5]],
    ]
)
ACTIVE = np.array([[True, False, True], [True, True, True]])
NOISE_POWER = np.array([0.2, 0.5])


@pytest.fixture(scope="module")
def observation():
    rng = np.random.default_rng(5)
    shapes = [(2, 9, 5), (2, 9, 12), (2, 5, 12)]
    snapshots, codes, channel = (rng.normal(size=(*shape, 2)) @ [1, 1j] for shape in shapes)
    codes /= np.abs(codes)
    return observe(*(tf.constant(x, tf.complex64) for x in (snapshots, codes, channel)), tf.constant([3.0, 8.0]))


@pytest.fixture(scope="module")
def evaluation(observation) -> Evaluation:
    atoms = Atoms(tf.constant(PARAMETERS, tf.float32), tf.constant(ACTIVE), tf.constant(NOISE_POWER, tf.float32))
    return evaluate_atoms(observation, atoms, ARRAY)


@pytest.mark.parametrize("scene", [0, 1])
class TestScene:
    def scene(self, observation, number: int):
        data = [observation.operator[number].numpy(), observation.snapshots[number].numpy()]
        operator, snapshots = (x.astype(np.complex128) for x in data)
        return PARAMETERS[number][ACTIVE[number]], NOISE_POWER[number], operator, snapshots

    def rows(self, number: int) -> np.ndarray:
        """Index i A + k of parameter i of each active atom k, as [active, 4]."""
        return np.arange(4) * 3 + np.flatnonzero(ACTIVE[number])[:, None]

    def test_value_and_gradient(self, observation, evaluation, scene: int) -> None:
        parameters, noise, operator, snapshots = self.scene(observation, scene)
        value = reference.nll(parameters, noise, operator, snapshots, ARRAY)
        assert float(evaluation.nll[scene]) == pytest.approx(value, rel=1e-5)
        slope = reference.derivatives(lambda x: reference.nll(x, noise, operator, snapshots, ARRAY), parameters)
        found = evaluation.gradient[scene].numpy()
        np.testing.assert_allclose(found[self.rows(scene).ravel()], slope, rtol=1e-3, atol=1e-3)
        noise_slope = reference.derivatives(
            lambda x: reference.nll(parameters, np.exp(x[0]), operator, snapshots, ARRAY), np.log([noise])
        )
        assert float(evaluation.noise_gradient[scene]) == pytest.approx(noise_slope[0], rel=1e-3)

    def test_fisher_information(self, observation, evaluation, scene: int) -> None:
        parameters, noise, operator, _ = self.scene(observation, scene)
        slopes = reference.derivatives(lambda x: reference.covariances(x, noise, operator, ARRAY), parameters)
        covariance = reference.covariances(parameters, noise, operator, ARRAY)
        expected = reference.fisher_information(slopes, covariance)
        rows = self.rows(scene).ravel()
        found = evaluation.fisher[scene].numpy()[np.ix_(rows, rows)]
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3 * np.abs(expected).max())
        noise_slope = noise * np.eye(5)[None, None] * np.ones((1, 9, 1, 1))
        noise_fisher = reference.fisher_information(noise_slope, covariance)[0, 0]
        assert float(evaluation.noise_fisher[scene]) == pytest.approx(noise_fisher, rel=1e-4)

    def test_log_likelihood_ratio_is_what_removing_the_atom_costs(self, observation, evaluation, scene: int) -> None:
        parameters, noise, operator, snapshots = self.scene(observation, scene)
        whole = reference.nll(parameters, noise, operator, snapshots, ARRAY)
        costs = [
            reference.nll(np.delete(parameters, atom, axis=0), noise, operator, snapshots, ARRAY) - whole
            for atom in range(len(parameters))
        ]
        np.testing.assert_allclose(evaluation.llr[scene].numpy()[ACTIVE[scene]], costs, rtol=1e-3, atol=1e-3)

    def test_inactive_atoms_have_no_rows(self, evaluation, scene: int) -> None:
        inactive = (np.arange(4) * 3 + np.flatnonzero(~ACTIVE[scene])[:, None]).ravel().astype(int)
        assert not np.any(evaluation.fisher[scene].numpy()[inactive])
        assert not np.any(evaluation.gradient[scene].numpy()[inactive])
