"""Low-rank channels: log-likelihood ratios of all grid points against their definition, and the search against
sequential ML."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from models.covariance_estimator.exact_search import effective_rank, search_grid

from models.artifacts import load_weights
from models.baselines.measurement import measure
from models.baselines.sequential_ml import SequentialML
from models.covariance_estimator.backbone import Backbone, Prediction
from models.covariance_estimator.config import GridConfig, RefinementConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.likelihood import Atoms, Evaluation, evaluate_atoms
from models.covariance_estimator.off_grid_refinement import refine_atoms
from models.physics.geometry import Scenario
from models.physics.observation import Observation, observation_specs, observe
from models.weights import PRETRAINED
from tests.simulated import batch_of, inputs_of
from tfds_shards.simulator import CONFIGS

SCENARIO = Scenario()
ARRAY, VIEW = SCENARIO.array, SCENARIO.field_of_view
NUM_SCENES = 6

Predict = Callable[[Observation], Prediction]


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    return inputs_of(batch_of(NUM_SCENES, CONFIGS["l64_m64_sight"]))


@pytest.fixture(scope="module")
def observation(inputs: dict[str, np.ndarray]) -> Observation:
    return observe(*(tf.constant(value) for value in inputs.values()))


def test_effective_rank() -> None:
    rng = np.random.default_rng(0)
    full_rank = (rng.normal(size=(1, 16, 144, 2)) @ [1, 1j]).astype(np.complex64)
    low_rank = full_rank[:, :, :1] * full_rank[:, :1]
    assert float(effective_rank(tf.constant(low_rank))[0]) == pytest.approx(1.0, rel=1e-3)
    eigenvalues = np.linalg.svd(full_rank[0], compute_uv=False) ** 2
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert float(effective_rank(tf.constant(full_rank))[0]) == pytest.approx(expected, rel=1e-3)
    assert expected > 12


@pytest.mark.promise("low-rank channels")
def test_log_likelihood_ratios_of_all_grid_points_are_those_of_the_likelihood(observation: Observation) -> None:
    """With all directions of the channel, a new atom at the found power changes the likelihood by this ratio."""
    grid = PolarDictionary(ARRAY, VIEW, GridConfig(6, 4, 3))
    parameters = tf.tile(tf.constant([[[0.3, 0.1, 0.4, -1.0]]]), [NUM_SCENES, 1, 1])
    one = Atoms(parameters, tf.fill([NUM_SCENES, 1], True), observation.noise_power)
    found = search_grid(observation, one, grid, 16)
    before = evaluate_atoms(observation, one, ARRAY).nll
    for point in (5, 40, 71):
        place = [tf.fill([NUM_SCENES], axis[point]) for axis in (grid.azimuth, grid.elevation, grid.inverse_range)]
        new = tf.stack([*place, tf.math.log(found.power[:, point])], axis=-1)[:, None]
        both = Atoms(tf.concat([parameters, new], 1), tf.fill([NUM_SCENES, 2], True), observation.noise_power)
        difference = before - evaluate_atoms(observation, both, ARRAY).nll
        llr = found.llr[:, point].numpy()
        np.testing.assert_allclose(llr[llr > 0], difference.numpy()[llr > 0], rtol=2e-3, atol=0.5)
    few = search_grid(observation, one, grid, 6).llr.numpy()
    assert np.corrcoef(few.ravel(), found.llr.numpy().ravel())[0, 1] > 0.99


@pytest.fixture(scope="module")
def of_ml(inputs, observation: Observation) -> tf.Tensor:
    """`objective` of the refined sources of sequential ML."""
    ml = SequentialML(SCENARIO)
    start = np.zeros((NUM_SCENES, 5, 4), np.float32)
    active = np.zeros((NUM_SCENES, 5), bool)
    for scene in range(NUM_SCENES):
        sources, _ = ml.estimate(measure(*(value[scene] for value in inputs.values())))
        start[scene, : len(sources)], active[scene, : len(sources)] = sources, True
    atoms = Atoms(tf.constant(start), tf.constant(active), observation.noise_power)
    thorough = dataclasses.replace(RefinementConfig(), settling_steps=20)
    return objective(*refine_atoms(observation, atoms, ARRAY, VIEW, thorough, 8))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone()


@pytest.fixture(scope="module")
def predict(backbone: Backbone) -> Predict:
    """The backbone as one graph for any batch and any weights."""
    specs = observation_specs(SCENARIO.num_antennas, ARRAY.num_elements)
    return tf.function(backbone.predict_covariance, autograph=False).get_concrete_function(specs)


@pytest.fixture(scope="module")
def searched(backbone: Backbone, predict: Predict, observation: Observation) -> Callable[[Path | None], tf.Tensor]:
    """`objective` of the backbone's atoms with these weights."""

    def search(weights: Path | None) -> tf.Tensor:
        backbone.set_weights(load_weights(weights).backbone.get_weights())
        prediction = predict(observation)
        return objective(prediction.atoms, prediction.evaluation)

    return search


@pytest.mark.extended
@pytest.mark.parametrize("weights", [None, PRETRAINED])
def test_the_search_is_not_below_sequential_ml(searched, of_ml: tf.Tensor, weights: Path | None) -> None:
    reached = searched(weights)
    assert np.all(reached - of_ml < 10.0)
    assert np.mean(reached - of_ml) < 2.0


def objective(atoms: Atoms, evaluation: Evaluation) -> tf.Tensor:
    """NLL plus the pruning threshold for each atom, [B]."""
    number = tf.reduce_sum(tf.cast(atoms.active, tf.float32), axis=-1)
    return evaluation.nll + RefinementConfig().prune_llr * number


@pytest.mark.extended
def test_wide_channels_take_the_short_way(predict: Predict, inputs: dict[str, np.ndarray]) -> None:
    """Scattered and ray-traced scenes in one batch give the same results as separately."""
    scattered = inputs_of(batch_of(2))
    mixed = {name: np.concatenate([scattered[name], inputs[name][:2]]) for name in inputs}
    together = predict(observe(*(tf.constant(value) for value in mixed.values()))).evaluation.nll
    alone = predict(observe(*(tf.constant(value) for value in scattered.values()))).evaluation.nll
    np.testing.assert_allclose(together[:2], alone, rtol=1e-4)
