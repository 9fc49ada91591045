"""The refinement raises the NLL only where it prunes atoms, and prunes only atoms with a low log-likelihood ratio."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.config import RefinementConfig
from models.covariance_estimator.likelihood import Atoms, evaluate_atoms
from models.covariance_estimator.off_grid_refinement import refine_atoms
from models.physics.geometry import FieldOfView, RISArray
from models.physics.observation import Observation, observe

ARRAY, VIEW = RISArray(4, 4), FieldOfView()
SCENES, ATOMS = 16, 3
RESOLUTION = 5e-3


@pytest.fixture(scope="module")
def observation() -> Observation:
    """Noise without sources, the hardest case for the refinement."""
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


def steps_of(observation: Observation, start: Atoms, config: RefinementConfig):
    """Atoms and evaluation after 0, 1, ... 8 steps; no scene converges earlier."""
    config = dataclasses.replace(config, settling_steps=0, tolerance=0.0)
    return [refine_atoms(observation, start, ARRAY, VIEW, config, steps) for steps in range(9)]


def test_likelihood_never_falls(observation: Observation, start: Atoms) -> None:
    states = steps_of(observation, start, RefinementConfig(prune_llr=0.0))
    for (_, before), (_, after) in itertools.pairwise(states):
        assert np.all(after.nll.numpy() - before.nll.numpy() <= RESOLUTION)
    assert np.all(states[-1][1].nll.numpy() < states[0][1].nll.numpy())


def test_atoms_are_dropped_for_their_gain(observation: Observation, start: Atoms) -> None:
    """Pruning starts with the third step. A scene that prunes does not move in this step."""
    config = RefinementConfig(prune_llr=10.0, prune_after=2)
    for step, ((old, before), (new, after)) in enumerate(itertools.pairwise(steps_of(observation, start, config))):
        useless = old.active.numpy() & (before.llr.numpy() < config.prune_llr) & (step >= config.prune_after)
        np.testing.assert_array_equal(new.active, old.active.numpy() & ~useless)
        dropping = useless.any(axis=1)
        np.testing.assert_array_equal(new.parameters.numpy()[dropping], old.parameters.numpy()[dropping])
        assert np.all(after.nll.numpy()[~dropping] - before.nll.numpy()[~dropping] <= RESOLUTION)


def test_only_unsettled_scenes_go_on(observation: Observation, start: Atoms) -> None:
    """The result equals that of more steps for all scenes, to the tolerance."""
    config = RefinementConfig(prune_llr=0.0, settling_steps=0, tolerance=0.3)
    few, _ = refine_atoms(observation, start, ARRAY, VIEW, config, 4)
    settling = dataclasses.replace(config, settling_steps=16)
    atoms, settled = refine_atoms(observation, start, ARRAY, VIEW, settling, 4)
    _, all_of_them = refine_atoms(observation, start, ARRAY, VIEW, config, 20)
    same = np.all(atoms.parameters.numpy() == few.parameters.numpy(), axis=(1, 2))
    assert 0 < np.sum(same) < SCENES
    difference = settled.nll.numpy() - all_of_them.nll.numpy()
    np.testing.assert_allclose(difference[~same], 0.0, atol=RESOLUTION)
    assert np.all(np.abs(difference) < 5.0)


def test_evaluation_belongs_to_the_atoms(observation: Observation, start: Atoms) -> None:
    """Also if the last step was rejected."""
    atoms, evaluation = refine_atoms(observation, start, ARRAY, VIEW, RefinementConfig(), 6)
    again = evaluate_atoms(observation, atoms, ARRAY)
    np.testing.assert_allclose(evaluation.nll, again.nll, rtol=1e-5, atol=RESOLUTION)
    np.testing.assert_allclose(evaluation.llr, again.llr, rtol=1e-3, atol=1e-2)
