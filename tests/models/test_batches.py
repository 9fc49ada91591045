"""Scenes with different numbers of sources in one batch: the result of a scene does not depend on the other scenes."""

import numpy as np
import pytest
import tensorflow as tf

from models.config import LocalizerConfig
from models.covariance_estimator.atoms import Atoms
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import GridConfig, RefinementConfig
from models.covariance_estimator.likelihood import evaluate
from models.covariance_estimator.off_grid_refinement import Refinement, refine_atoms
from models.covariance_estimator.paths import direct_paths
from models.localizer import Localizer
from models.physics.geometry import Scenario
from models.physics.observation import Observation, observe
from tests.conftest import TINY
from tests.simulated import batch_of, inputs_of

SCENARIO = Scenario()
SCENES, SLOTS = 8, 5
REFINEMENT = Refinement(SCENARIO, RefinementConfig())


@pytest.fixture(scope="module")
def near_the_truth() -> tuple[Observation, Atoms]:
    """Scenes, and atoms near the true sources in random slots; none in the last scene."""
    batch = batch_of(SCENES)
    observation = observe(**{name: tf.constant(value) for name, value in inputs_of(batch).items()})
    used = np.arange(SLOTS) < batch["num_sources"][:, None]
    power = np.where(used, batch["power"], 1.0)
    log_power = np.log(power / np.sum(np.where(used, power, 0.0), axis=1, keepdims=True))
    inverse_range = 1.0 / np.where(used, batch["range_m"], 1.0)
    parameters = np.stack([batch["azimuth"] + 0.01, batch["elevation"] - 0.01, inverse_range, log_power], axis=-1)
    order = np.random.default_rng(1).permuted(np.tile(np.arange(SLOTS), (SCENES, 1)), axis=1)
    parameters = np.take_along_axis(np.where(used[..., None], parameters, 0.3), order[..., None], axis=1)
    active = np.take_along_axis(used, order, axis=1)
    active[-1] = False
    return observation, Atoms(tf.constant(parameters, tf.float32), tf.constant(active), observation.noise_power)


@tf.function(autograph=False, reduce_retracing=True)
def refined(observation: Observation, atoms: Atoms) -> tuple[Atoms, tf.Tensor]:
    return refine_atoms(observation, atoms, REFINEMENT, 3)


def test_a_scene_is_refined_alike_in_any_company(near_the_truth: tuple[Observation, Atoms]) -> None:
    observation, atoms = near_the_truth
    assert len(set(np.sum(atoms.active, axis=1))) > 2
    together, nll = refined(observation, atoms)
    order = np.random.default_rng(0).permutation(SCENES)
    shuffled, of_shuffled = refined(*tf.nest.map_structure(lambda values: tf.gather(values, order), near_the_truth))
    for found, value in zip((*shuffled, of_shuffled), (*together, nll), strict=True):
        np.testing.assert_array_equal(found, value.numpy()[order])
    for scene in range(SCENES):
        alone, of_alone = refined(*tf.nest.map_structure(lambda values: values[scene : scene + 1], near_the_truth))  # noqa: B023
        for found, value in zip((*alone, of_alone), (*together, nll), strict=True):
            np.testing.assert_array_equal(found[0], value[scene])


def test_where_it_ends_is_where_the_likelihood_is_told(near_the_truth: tuple[Observation, Atoms]) -> None:
    """Active atoms come first. The last step of converged scenes is not evaluated."""
    observation, atoms = near_the_truth
    found, nll = refined(observation, atoms)
    active = found.active.numpy()
    np.testing.assert_array_equal(active, np.arange(SLOTS) < active.sum(axis=1, keepdims=True))
    assert np.all(active.sum(axis=1) <= np.sum(atoms.active, axis=1)) and not active[-1].any()
    for scene in range(SCENES):
        paths = direct_paths(*(part[scene] for part in found))
        again = evaluate(observation.scene(scene), paths, SCENARIO.array)
        np.testing.assert_allclose(nll[scene], again.nll, atol=0.5)
        assert np.all(again.llr > RefinementConfig().prune_llr - 0.5)


def test_spare_slots_hold_no_atom_and_change_nothing(near_the_truth: tuple[Observation, Atoms]) -> None:
    observation, atoms = near_the_truth
    spared = Atoms(tf.pad(atoms.parameters, [[0, 0], [0, 3], [0, 0]]), tf.pad(atoms.active, [[0, 0], [0, 3]]), atoms[2])
    (found, nll), (expected, without) = refined(observation, spared), refined(observation, atoms)
    assert found.active.shape == (SCENES, SLOTS + 3) and not np.any(found.active[:, SLOTS:])
    np.testing.assert_array_equal(found.active[:, :SLOTS], expected.active)
    np.testing.assert_array_equal(found.parameters[:, :SLOTS], expected.parameters)
    np.testing.assert_array_equal(nll, without)


@pytest.mark.promise("unknown number")
def test_a_scene_without_sources_is_located_alike_in_any_company() -> None:
    """Noise alone between scenes with sources. The search for reflections has nothing to search."""
    localizer = Localizer(Backbone(SCENARIO, TINY), LocalizerConfig(spectrum_grid=GridConfig(22, 13, 10)))
    inputs = inputs_of(batch_of(3))
    rng = np.random.default_rng(3)
    inputs["snapshots"] = inputs["snapshots"].copy()
    inputs["snapshots"][1] = rng.normal(size=(*inputs["snapshots"].shape[1:], 2)) @ [1, 1j]
    inputs["snr_db"] = np.array([15.0, -40.0, 15.0], np.float32)
    localize = tf.function(lambda inputs: localizer.localize(**inputs), autograph=False, reduce_retracing=True)
    together = localize({name: tf.constant(value) for name, value in inputs.items()})
    assert int(together["num_sources"][1]) == 0
    assert np.all(np.isnan(together["position_m"][1])) and not np.any(together["num_paths"][1])
    assert together["num_sources"][0] > 0 and together["num_sources"][2] > 0
    for scene in range(3):
        alone = localize({name: tf.constant(value[scene : scene + 1]) for name, value in inputs.items()})
        for name, value in alone.items():
            np.testing.assert_allclose(value[0], together[name][scene], rtol=1e-3, atol=1e-3, err_msg=name)
