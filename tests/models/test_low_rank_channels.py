"""Low-rank channels: log-likelihood ratios of all grid points against their definition, and the search against
sequential ML."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.artifacts import load_weights
from models.baselines.measurement import measure
from models.baselines.sequential_ml import SequentialML
from models.covariance_estimator.atoms import Atoms
from models.covariance_estimator.backbone import Backbone, Prediction
from models.covariance_estimator.config import GridConfig, RefinementConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.likelihood import evaluate
from models.covariance_estimator.new_source import best_grid_points, effective_rank, grid_llr
from models.covariance_estimator.off_grid_refinement import Refinement, refine_atoms
from models.covariance_estimator.paths import direct_paths
from models.physics.geometry import Scenario
from models.physics.observation import Observation, measurement_specs, observe
from models.weights import PRETRAINED
from tests.simulated import batch_of, inputs_of
from tfds_shards.simulator import CONFIGS

SCENARIO = Scenario()
ARRAY, VIEW = SCENARIO.array, SCENARIO.field_of_view
NUM_SCENES = 6

Predict = Callable[[dict[str, np.ndarray]], Prediction]


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
    """With all directions of the channel, a new source at the found power changes the likelihood by this ratio.

    Also if there are no sources yet.
    """
    grid = PolarDictionary(ARRAY, VIEW, GridConfig(6, 4, 3))
    one = tf.constant([[0.3, 0.1, 0.4, -1.0]])
    few_and_all = []
    for number, sources in enumerate((1, 1, 1, 1, 1, 0)):
        scene = observation.scene(number)
        paths = direct_paths(one, tf.constant([sources == 1]), scene.noise_power)
        before = evaluate(scene, paths, ARRAY)
        llr, power = grid_llr(scene, paths, before, grid, 16)
        for point in (5, 40, 71):
            place = [axis[point] for axis in (grid.azimuth, grid.elevation, grid.inverse_range)]
            log_power = tf.math.log(power[point] / grid.norm2[point])
            after = evaluate(scene, paths.with_source(tf.stack([*place, log_power])), ARRAY)
            if llr[point] > 0:
                np.testing.assert_allclose(llr[point], before.nll - after.nll, rtol=2e-3, atol=0.5)
        best = best_grid_points(scene, paths, before, grid, 16, 3)
        after = evaluate(scene, paths.with_source(best.parameters[0]), ARRAY)
        assert np.all(best.llr[0] >= llr)
        np.testing.assert_allclose(best.llr[0], before.nll - after.nll, rtol=2e-3, atol=0.5)
        few_and_all.append((grid_llr(scene, paths, before, grid, 6)[0], llr))
    few, every = np.array(few_and_all).transpose(1, 0, 2)
    assert np.corrcoef(few.ravel(), every.ravel())[0, 1] > 0.99


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
    thorough = Refinement(SCENARIO, RefinementConfig(settling_steps=20))
    return objective(*refine_atoms(observation, atoms, thorough, 8))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone()


@pytest.fixture(scope="module")
def predict(backbone: Backbone) -> Predict:
    """The backbone as one graph for any batch and any weights."""
    specs = measurement_specs(SCENARIO.num_antennas, ARRAY.num_elements)

    @tf.function(autograph=False, input_signature=[*specs.values()])
    def predict(*measurement: tf.Tensor) -> Prediction:
        return backbone.predict_covariance(observe(*measurement))

    return lambda inputs: predict(*(tf.constant(value) for value in inputs.values()))


@pytest.fixture(scope="module")
def searched(backbone: Backbone, predict: Predict, inputs) -> Callable[[Path | None], tf.Tensor]:
    """`objective` of the backbone's atoms with these weights."""

    def search(weights: Path | None) -> tf.Tensor:
        backbone.set_weights(load_weights(weights).backbone.get_weights())
        prediction = predict(inputs)
        return objective(prediction.atoms, prediction.nll)

    return search


@pytest.mark.extended
@pytest.mark.parametrize("weights", [None, PRETRAINED])
def test_the_search_is_not_below_sequential_ml(searched, of_ml: tf.Tensor, weights: Path | None) -> None:
    reached = searched(weights)
    assert np.all(reached - of_ml < 10.0)
    assert np.mean(reached - of_ml) < 2.0


def objective(atoms: Atoms, nll: tf.Tensor) -> tf.Tensor:
    """NLL plus the pruning threshold for each atom, [B]."""
    number = tf.reduce_sum(tf.cast(atoms.active, tf.float32), axis=-1)
    return nll + RefinementConfig().prune_llr * number


@pytest.mark.extended
def test_wide_channels_take_the_short_way(predict: Predict, inputs: dict[str, np.ndarray]) -> None:
    """Scattered and ray-traced scenes in one batch give the same results as separately."""
    scattered = inputs_of(batch_of(2))
    mixed = {name: np.concatenate([scattered[name], inputs[name][:2]]) for name in inputs}
    together, alone = predict(mixed).nll, predict(scattered).nll
    np.testing.assert_allclose(together[:2], alone, rtol=1e-4)
