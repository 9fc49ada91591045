"""Over draws from the model, the score has mean zero and the Fisher information as its covariance."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from models.covariance_estimator.likelihood import Evaluation, evaluate
from models.covariance_estimator.paths import Paths
from models.physics.geometry import RISArray
from models.physics.observation import observe
from tests.references.paths import covariances

ARRAY = RISArray(4, 3)
PARAMETERS = np.array([[0.3, -0.2, 0.5, 0.4, 0.0], [-0.5, 0.3, 1.2, -0.5, 0.0], [0.1, -0.9, 0.2, 0.3, 1.4]])
"""Two sources, and a reflection of the second one."""
NOISE_POWER = 0.3
DRAWS, NUM_SNAPSHOTS, NUM_ANTENNAS = 4000, 8, 5


@pytest.fixture(scope="module", params=[2, 3], ids=["direct paths", "with a reflection"])
def evaluation(request: pytest.FixtureRequest) -> Evaluation:
    """Evaluations at the truth, for many draws of symbols and noise with one channel and one set of codes."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=(*shape, 2)) @ [1, 1j] / np.sqrt(2)

    white = normal(DRAWS, NUM_SNAPSHOTS, NUM_ANTENNAS)
    codes = np.exp(2j * np.pi * rng.random((1, NUM_SNAPSHOTS, ARRAY.num_elements)))
    channel = normal(1, NUM_ANTENNAS, ARRAY.num_elements)
    arrays = (tf.constant(x, tf.complex64) for x in (white[:1], codes, channel))
    scene = observe(*arrays, tf.zeros([1])).scene(0)
    parameters = PARAMETERS[: request.param]
    operator = scene.operator.numpy().astype(np.complex128)
    truth = covariances(parameters[:2, :4], parameters[2:], [1] * len(parameters[2:]), NOISE_POWER, operator, ARRAY)
    snapshots = np.einsum("lmn,bln->blm", np.linalg.cholesky(truth), white)  # without normalisation to unit RMS
    source = tf.constant([0, 1, 1][: request.param])
    paths = Paths(tf.constant(parameters, tf.float32), source, tf.constant(NOISE_POWER))

    @tf.function(autograph=False)
    def every(snapshots: tf.Tensor) -> Evaluation:
        return tf.vectorized_map(lambda drawn: evaluate(scene._replace(snapshots=drawn), paths, ARRAY), snapshots)

    return every(tf.constant(snapshots, tf.complex64))


def test_parameters_of_paths(evaluation: Evaluation) -> None:
    root = np.linalg.cholesky(evaluation.fisher[0].numpy().astype(np.float64))
    whitened = np.linalg.solve(root, evaluation.gradient.numpy().T)
    mean = whitened.mean(axis=1) * np.sqrt(DRAWS)
    assert np.sum(mean**2) < scipy.stats.chi2.isf(1e-3, len(root))
    np.testing.assert_allclose(np.cov(whitened), np.eye(len(root)), atol=0.1)


def test_noise_power(evaluation: Evaluation) -> None:
    whitened = evaluation.noise_gradient.numpy() / np.sqrt(evaluation.noise_fisher.numpy())
    assert abs(whitened.mean()) * np.sqrt(DRAWS) < 3.3
    assert whitened.var() == pytest.approx(1.0, abs=0.1)
