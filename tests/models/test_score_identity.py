"""Over draws from the model, the score has mean zero and the Fisher information as its covariance."""

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.likelihood import Atoms, Evaluation, evaluate_atoms
from models.physics.geometry import RISArray
from models.physics.observation import observe
from tests.references.likelihood import covariances

ARRAY = RISArray(4, 3)
PARAMETERS = np.array([[0.3, -0.2, 0.5, 0.4], [-0.5, 0.3, 1.2, -0.5]])
NOISE_POWER = 0.3
DRAWS, NUM_SNAPSHOTS, NUM_ANTENNAS = 4000, 8, 5


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """Evaluation at the truth, for many draws of symbols and noise with one channel and one set of codes."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=(*shape, 2)) @ [1, 1j] / np.sqrt(2)

    white = normal(DRAWS, NUM_SNAPSHOTS, NUM_ANTENNAS)
    codes = np.exp(2j * np.pi * rng.random((1, NUM_SNAPSHOTS, ARRAY.num_elements)))
    channel = normal(1, NUM_ANTENNAS, ARRAY.num_elements)
    shared = [np.broadcast_to(x, (DRAWS, *x.shape[1:])) for x in (codes, channel)]
    observation = observe(*(tf.constant(x, tf.complex64) for x in (white, *shared)), tf.zeros([DRAWS]))
    operator = observation.operator[0].numpy().astype(np.complex128)
    root = np.linalg.cholesky(covariances(PARAMETERS, NOISE_POWER, operator, ARRAY))
    snapshots = np.einsum("lmn,bln->blm", root, white)  # normalising to unit RMS would change the distribution
    atoms = Atoms(
        tf.constant(np.tile(PARAMETERS, (DRAWS, 1, 1)), tf.float32),
        tf.ones([DRAWS, 2], tf.bool),
        tf.fill([DRAWS], NOISE_POWER),
    )
    return evaluate_atoms(observation._replace(snapshots=tf.constant(snapshots, tf.complex64)), atoms, ARRAY)


def test_atoms(evaluation: Evaluation) -> None:
    root = np.linalg.cholesky(evaluation.fisher[0].numpy().astype(np.float64))
    whitened = np.linalg.solve(root, evaluation.gradient.numpy().T)
    mean = whitened.mean(axis=1) * np.sqrt(DRAWS)
    assert np.sum(mean**2) < 26.1  # chi-square with 8 degrees of freedom, probability 1e-3
    np.testing.assert_allclose(np.cov(whitened), np.eye(8), atol=0.1)


def test_noise_power(evaluation: Evaluation) -> None:
    whitened = evaluation.noise_gradient.numpy() / np.sqrt(evaluation.noise_fisher.numpy())
    assert abs(whitened.mean()) * np.sqrt(DRAWS) < 3.3
    assert whitened.var() == pytest.approx(1.0, abs=0.1)
