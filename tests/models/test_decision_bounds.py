"""For any likelihood, a decision has a valid probability, a position in the field of view and a valid covariance."""

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.atoms import AtomEvaluation, Atoms
from models.decision.config import DecisionConfig
from models.decision.decision import Decision, decide
from models.physics.config import PathLossConfig
from models.physics.geometry import FieldOfView

VIEW = FieldOfView()
SCENES, ATOMS = 200, 4


@pytest.fixture(scope="module")
def atoms() -> Atoms:
    """Atoms inside and outside the field of view, with unused slots."""
    rng = np.random.default_rng(3)
    limits = [(-1.1, 1.1), (-0.57, 0.57), (0.02, 2.3), (-6.0, 2.0)]
    parameters = np.stack([rng.uniform(*limit, (SCENES, ATOMS)) for limit in limits], axis=-1)
    active = rng.random((SCENES, ATOMS)) < 0.8
    return Atoms(tf.constant(parameters, tf.float32), tf.constant(active), tf.fill([SCENES], 0.1))


@pytest.fixture(scope="module")
def decision(atoms: Atoms) -> Decision:
    rng = np.random.default_rng(4)
    size = 4 * ATOMS
    root = rng.normal(size=(SCENES, size, size + 4)) * 10.0 ** rng.uniform(-0.5, 3.0, (SCENES, size, 1))
    used = np.tile(atoms.active, (1, 4))
    fisher = root @ root.transpose(0, 2, 1) * used[:, :, None] * used[:, None, :]
    llr = tf.constant(rng.uniform(-5.0, 200.0, (SCENES, ATOMS)), tf.float32)
    evaluation = AtomEvaluation(llr, tf.constant(fisher, tf.float32))
    return decide(atoms, evaluation, VIEW, DecisionConfig())


def test_score_is_a_probability(atoms: Atoms, decision: Decision) -> None:
    score = decision.score.numpy()
    assert np.all((score >= 0) & (score <= 1))
    assert np.all(score[~atoms.active.numpy()] == 0)
    assert np.ptp(score) > 0.9


def test_place_lies_in_the_field_of_view(atoms: Atoms, decision: Decision) -> None:
    active = atoms.active.numpy()
    for value, limits in ((decision.azimuth, VIEW.azimuth), (decision.elevation, VIEW.elevation)):
        assert np.all((value.numpy()[active] >= limits[0] - 1e-6) & (value.numpy()[active] <= limits[1] + 1e-6))
    range_m = decision.range_m.numpy()[active]
    assert np.all((range_m >= VIEW.range_m[0] - 1e-5) & (range_m <= VIEW.range_m[1] + 1e-4))
    np.testing.assert_allclose(np.linalg.norm(decision.position_m.numpy()[active], axis=-1), range_m, rtol=1e-5)


def test_error_covariance_is_positive(atoms: Atoms, decision: Decision) -> None:
    covariance = decision.position_cov_m2.numpy()[atoms.active.numpy()].astype(np.float64)
    np.testing.assert_allclose(covariance, covariance.swapaxes(-1, -2), rtol=1e-4, atol=1e-5)
    eigenvalues = np.linalg.eigvalsh(covariance)
    assert np.all(eigenvalues[:, 0] > -1e-6 * eigenvalues[:, 2])


def test_score_falls_as_the_range_widens() -> None:
    """One atom at 5 m with decreasing curvature of the likelihood in range; everything else is fixed."""
    deviations = np.array([0.002, 0.01, 0.02, 0.04, 0.08])
    precision = np.stack([np.diag([1e4, 1e4, 1 / deviation**2, 1e2]) for deviation in deviations])
    count = len(deviations)
    parameters = np.tile([0.0, 0.0, 0.2, 0.0], (count, 1, 1))
    evaluation = AtomEvaluation(tf.fill([count, 1], 1e3), tf.constant(precision, tf.float32))
    atoms = Atoms(tf.constant(parameters, tf.float32), tf.ones([count, 1], tf.bool), tf.fill([count], 0.1))
    config = DecisionConfig(path_loss=PathLossConfig(unrelated_share=1.0))
    score = decide(atoms, evaluation, VIEW, config).score.numpy()[:, 0]
    assert np.all(np.diff(score) < 0)
    assert score[0] > 0.99
