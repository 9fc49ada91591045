"""Scenes with different numbers of atoms in one batch: the result of a scene does not depend on the other scenes."""

import numpy as np
import tensorflow as tf

from models.covariance_estimator.config import RefinementConfig
from models.covariance_estimator.likelihood import Atoms, Evaluation, evaluate_atoms
from models.covariance_estimator.off_grid_refinement import refine_atoms
from models.covariance_estimator.slots import first_slots, used_slots, with_rest_of, with_slots, with_spare_slots
from models.physics.geometry import Scenario
from models.physics.observation import Observation, observe
from tests.simulated import batch_of, inputs_of

SCENARIO = Scenario()
SCENES = 8


def near_the_truth() -> tuple[Observation, Atoms]:
    """Scenes, and atoms near the true sources in random slots."""
    batch = batch_of(SCENES)
    observation = observe(**{name: tf.constant(value) for name, value in inputs_of(batch).items()})
    used = np.arange(5) < batch["num_sources"][:, None]
    power = np.where(used, batch["power"], 1.0)
    log_power = np.log(power / np.sum(np.where(used, power, 0.0), axis=1, keepdims=True))
    inverse_range = 1.0 / np.where(used, batch["range_m"], 1.0)
    parameters = np.stack([batch["azimuth"] + 0.01, batch["elevation"] - 0.01, inverse_range, log_power], axis=-1)
    order = np.random.default_rng(1).permuted(np.tile(np.arange(5), (SCENES, 1)), axis=1)
    parameters = np.take_along_axis(np.where(used[..., None], parameters, 0.3), order[..., None], axis=1)
    active = np.take_along_axis(used, order, axis=1)
    return observation, Atoms(tf.constant(parameters, tf.float32), tf.constant(active), observation.noise_power)


def test_a_scene_is_refined_alike_in_any_company() -> None:
    observation, atoms = near_the_truth()
    assert len(set(np.sum(atoms.active, axis=1))) > 2
    array, view = SCENARIO.array, SCENARIO.field_of_view

    @tf.function(autograph=False, reduce_retracing=True)
    def refined(observation: Observation, atoms: Atoms) -> tuple[Atoms, Evaluation]:
        return refine_atoms(observation, atoms, array, view, RefinementConfig(), 3)

    together, evaluation = refined(observation, atoms)
    for scene in range(SCENES):
        one = [tf.nest.map_structure(lambda value: value[scene : scene + 1], part) for part in (observation, atoms)]  # noqa: B023
        alone, of_alone = refined(*one)
        np.testing.assert_array_equal(alone.active[0], together.active[scene])
        np.testing.assert_allclose(of_alone.nll[0], evaluation.nll[scene], atol=0.02)
        kept = together.active[scene].numpy()
        np.testing.assert_allclose(
            alone.parameters[0].numpy()[kept], together.parameters[scene].numpy()[kept], atol=2e-3
        )


def test_where_it_ends_is_where_the_likelihood_is_told() -> None:
    """Evaluating the refined atoms again with all slots gives the returned evaluation."""
    observation, atoms = near_the_truth()
    config = RefinementConfig(settling_steps=0, prune_llr=0.0)
    refined, told = refine_atoms(observation, atoms, SCENARIO.array, SCENARIO.field_of_view, config, 2)
    again = evaluate_atoms(observation, refined, SCENARIO.array)
    active = refined.active.numpy()
    np.testing.assert_allclose(told.nll, again.nll, atol=0.5)  # the last step of converged scenes is not evaluated
    np.testing.assert_allclose(np.where(active, told.llr, 0.0), np.where(active, again.llr, 0.0), rtol=0.01, atol=0.5)


def test_slots_left_out_and_put_back_leave_the_rest_as_it_was() -> None:
    observation, atoms = near_the_truth()
    atoms = Atoms(tf.sort(atoms.parameters, axis=1), atoms.active, atoms.noise_power)
    np.testing.assert_array_equal(
        used_slots(tf.constant([[False] * 3, [True, False, False], [False, True, False], [True, False, True]])),
        [1, 1, 2, 3],
    )
    whole = with_rest_of(first_slots(atoms, 2), atoms)
    for before, after in zip(atoms, whole, strict=True):
        np.testing.assert_array_equal(before, after)
    evaluation = evaluate_atoms(observation, atoms, SCENARIO.array)
    fewer = with_slots(evaluation, 2)
    assert fewer.fisher.shape == (SCENES, 8, 8)
    restored = with_slots(fewer, 5)
    index = np.flatnonzero(np.tile(np.arange(5) < 2, 4))  # parameter i of atom k is i A + k
    np.testing.assert_array_equal(restored.gradient.numpy()[:, index], evaluation.gradient.numpy()[:, index])
    block = np.ix_(range(SCENES), index, index)
    np.testing.assert_array_equal(restored.fisher.numpy()[block], evaluation.fisher.numpy()[block])
    assert np.count_nonzero(restored.fisher) == np.count_nonzero(restored.fisher.numpy()[block])


def test_spare_slots_hold_no_atom_and_change_nothing() -> None:
    observation, atoms = near_the_truth()
    spared = with_spare_slots(atoms, 3)
    assert not np.any(spared.active[:, 5:])
    array, view = SCENARIO.array, SCENARIO.field_of_view
    refined, evaluation = refine_atoms(observation, spared, array, view, RefinementConfig(), 3)
    expected, without = refine_atoms(observation, atoms, array, view, RefinementConfig(), 3)
    np.testing.assert_array_equal(refined.active[:, :5], expected.active)
    np.testing.assert_allclose(evaluation.nll, without.nll, atol=0.02)
