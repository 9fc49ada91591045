"""Refinement never climbs: what a step costs is float32's resolution, what a dropped atom costs is its gain."""

import numpy as np
import pytest
import tensorflow as tf

from models.continuous import ContinuousConfig, refine_atoms
from models.geometry import FieldOfView, RISArray
from models.likelihood import Atoms, evaluate_atoms
from models.observation import Observation, observe

ARRAY, VIEW = RISArray(4, 4), FieldOfView()
SCENES, ATOMS = 16, 3
RESOLUTION = 5e-3


@pytest.fixture(scope="module")
def observation() -> Observation:
    """Noise, with nothing in it that the atoms could fit: the hardest start."""
    rng = np.random.default_rng(4)
    snapshots, codes, channel = (rng.normal(size=(SCENES, *s, 2)) @ [1, 1j] for s in ((8, 6), (8, 16), (6, 16)))
    codes /= np.abs(codes)
    snr_db = tf.constant(rng.uniform(-5.0, 20.0, SCENES), tf.float32)
    return observe(*(tf.constant(x, tf.complex64) for x in (snapshots, codes, channel)), snr_db)


@pytest.fixture(scope="module")
def start(observation: Observation) -> Atoms:
    rng = np.random.default_rng(5)
    limits = [VIEW.azimuth, VIEW.elevation, VIEW.inverse_range, (-4.0, 2.0)]
    parameters = np.stack([rng.uniform(*limit, (SCENES, ATOMS)) for limit in limits], axis=-1)
    return Atoms(tf.constant(parameters, tf.float32), tf.ones([SCENES, ATOMS], tf.bool), observation.noise_power)


@pytest.mark.parametrize("prune_gain", [0.0, 10.0])
def test_likelihood_never_falls(observation: Observation, start: Atoms, prune_gain: float) -> None:
    config = ContinuousConfig(prune_gain=prune_gain)
    nll, num_atoms = evaluate_atoms(observation, start, ARRAY).nll.numpy(), np.full(SCENES, ATOMS)
    first = nll
    for steps in range(1, 9):
        atoms, evaluation = refine_atoms(observation, start, ARRAY, VIEW, config, steps)
        left = np.sum(atoms.active, axis=1)
        dropped = num_atoms - left
        assert np.all((dropped >= 0) & (dropped <= 1))
        assert np.all(evaluation.nll.numpy() - nll <= RESOLUTION + prune_gain * dropped)
        nll, num_atoms = evaluation.nll.numpy(), left
    assert np.all(nll < first)


def test_evaluation_belongs_to_the_atoms(observation: Observation, start: Atoms) -> None:
    """Also where the last step was refused."""
    atoms, evaluation = refine_atoms(observation, start, ARRAY, VIEW, ContinuousConfig(), 6)
    again = evaluate_atoms(observation, atoms, ARRAY)
    np.testing.assert_allclose(evaluation.nll, again.nll, rtol=1e-5, atol=RESOLUTION)
    np.testing.assert_allclose(evaluation.gains, again.gains, rtol=1e-3, atol=1e-2)
