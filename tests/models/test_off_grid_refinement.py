"""Off-grid refinement: paths reach the maximum of the likelihood, unneeded sources are pruned, limits hold."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.config import GridConfig, RefinementConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.grid_peaks import grid_peaks
from models.covariance_estimator.likelihood import Evaluation, error_covariance, evaluate, of_direct_paths
from models.covariance_estimator.new_source import residual_peak
from models.covariance_estimator.off_grid_refinement import BEYOND, Refinement, parameter_limits, within_limits
from models.covariance_estimator.paths import Paths
from models.physics.geometry import RISArray, Scenario
from models.physics.observation import Observation, observe
from models.physics.steering import steering_vectors

SCENARIO = Scenario(num_antennas=12)
ARRAY, VIEW = SCENARIO.array, SCENARIO.field_of_view
PLACES = np.array([[0.3, -0.2, 0.5], [-0.4, 0.1, 0.3]])
POWERS = np.array([1.0, 0.5])
NOISE = 0.02
SCENES = 6


@pytest.fixture(scope="module")
def observation() -> Observation:
    """Six draws of two sources from the model, SNR 17 dB."""
    rng = np.random.default_rng(8)
    batch, num_snapshots, num_antennas, size = SCENES, 32, 12, ARRAY.num_elements

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=(*shape, 2)) @ [1, 1j] / np.sqrt(2)

    channel = normal(batch, num_antennas, size) / np.sqrt(num_antennas)
    codes = np.exp(2j * np.pi * rng.random((batch, num_snapshots, size)))
    vectors = steering_vectors(*(tf.constant(x) for x in PLACES.T), ARRAY).numpy()
    symbols = normal(batch, num_snapshots, 2) * np.sqrt(POWERS)
    clean = np.einsum("bmn,bln,kn,blk->blm", channel, codes, vectors, symbols)
    power = np.mean(np.abs(clean) ** 2, axis=(1, 2), keepdims=True)
    snapshots = clean + np.sqrt(NOISE * power) * normal(*clean.shape)
    snr_db = np.full(batch, -10 * np.log10(NOISE), np.float32)
    return observe(*(tf.constant(x, tf.complex64) for x in (snapshots, codes, channel)), tf.constant(snr_db))


def sources_at(observation: Observation, places: np.ndarray, powers: np.ndarray) -> Paths:
    """The same sources in one scene."""
    parameters = np.column_stack([places, np.log(powers), np.zeros(len(places))])
    return Paths(tf.constant(parameters, tf.float32), tf.range(len(places)), observation.noise_power)


@functools.cache
def refinement(**config) -> Refinement:
    return Refinement(SCENARIO, RefinementConfig(**config))


def refine(
    observation: Observation, places: np.ndarray, powers: np.ndarray, **config
) -> list[tuple[Paths, Evaluation]]:
    """Every scene refined from these sources, 15 steps."""
    scenes = [observation.scene(number) for number in range(SCENES)]
    return [refinement(**config)(scene, sources_at(scene, places, powers), 15) for scene in scenes]


@pytest.mark.promise("off-grid refinement", "errors and scores")
def test_reaches_the_truth_within_its_own_error_bars(observation: Observation) -> None:
    start = PLACES + np.array([0.03, -0.03, 0.05])
    nees = []
    for number, (paths, evaluation) in enumerate(refine(observation, start, POWERS / 3)):
        scene = observation.scene(number)
        assert evaluation.nll < evaluate(scene, sources_at(scene, start, POWERS / 3), ARRAY).nll
        covariance = error_covariance(of_direct_paths(evaluation, paths), 2).numpy()[:, :3, :3]
        error = paths.parameters.numpy()[:, :3] - PLACES
        nees.append(np.einsum("ki,kij,kj->k", error, np.linalg.inv(covariance), error))
        np.testing.assert_allclose(paths.noise_power, NOISE / (1 + NOISE), rtol=0.25)
    assert 0.4 < np.mean(nees) / 3 < 2.0  # far tails of chi-square with 36 degrees of freedom


def test_drops_a_source_that_explains_nothing(observation: Observation) -> None:
    places, powers = np.vstack([PLACES, [0.9, 0.4, 1.5]]), np.append(POWERS, 1e-3)
    found = refine(observation, places, powers)
    for paths, evaluation in found:
        np.testing.assert_allclose(paths.parameters[:, :2], PLACES[:, :2], atol=0.1)
        assert np.all(evaluation.llr.numpy() > 100)
    kept = refine(observation, places, powers, prune_llr=0.0)
    assert sum(int(paths.count) for paths, _ in kept) > 2 * SCENES


def test_noise_power_stays_within_its_limits(observation: Observation) -> None:
    for paths, _ in refine(observation, PLACES[:1], POWERS[:1]):
        assert paths.noise_power > 3 * observation.noise_power[0]  # the other source acts as noise
    for paths, _ in refine(observation, PLACES[:1], POWERS[:1], noise_range_db=(0.0, 0.0)):
        np.testing.assert_allclose(paths.noise_power, observation.noise_power[0], rtol=1e-6)


def test_limits_of_paths() -> None:
    """Direct paths stay near the field of view, reflected ones in the half space and longer than their direct path."""
    limits = parameter_limits(SCENARIO, tf.constant(0.1), (-3.0, 20.0))
    np.testing.assert_allclose(limits.noise_power, (0.1 * 10**-0.3, 10.0), rtol=1e-5)
    view = np.transpose([VIEW.azimuth, VIEW.elevation, VIEW.inverse_range])
    assert np.all(limits.low[:3] < view[0]) and np.all(limits.high[:3] > view[1]) and limits.low[2] > 0
    source = np.array([0, 1, 1, 0, 1])
    rng = np.random.default_rng(0)
    wild = rng.normal(size=(200, 5, 5)).astype(np.float32) * [3.0, 3.0, 3.0, 30.0, 30.0]
    found = within_limits(tf.constant(wild, tf.float32), tf.constant(source, tf.int32), limits).numpy()
    direct, reflected = found[:, :2], found[:, 2:]
    np.testing.assert_allclose(direct, np.clip(wild[:, :2], limits.low, limits.high), rtol=1e-6)
    assert np.all(np.abs(reflected[..., :2]) <= 1.5) and np.max(np.abs(reflected[..., :2])) > view[1, 0]
    assert np.all(reflected[..., 2] <= BEYOND * found[:, source[2:], 2] * (1 + 1e-6)) and np.all(reflected[..., 2] > 0)
    np.testing.assert_array_equal(found[..., 4], wild[..., 4].astype(np.float32))
    again = within_limits(tf.constant(found), tf.constant(source, tf.int32), limits)
    np.testing.assert_array_equal(again, found)


def test_a_reflection_and_its_source_reach_the_truth_within_their_error_bars() -> None:
    """Positions and powers of both paths, and the phase between them."""
    rng = np.random.default_rng(11)
    truth = np.array([[0.3, -0.2, 0.5, 0.0, 0.0], [-0.4, 0.1, 0.2, -1.0, 0.8]])
    offset = np.array([[0.02, -0.02, 0.03, -0.7, 0.0], [-0.03, 0.03, 0.03, 0.5, -0.6]])
    shapes = [(32, 2), (12, ARRAY.num_elements, 2), (32, 12, 2)]
    errors = []
    for _ in range(SCENES):
        symbols, channel, noise = (rng.normal(size=shape) @ [1, 1j] / np.sqrt(2) for shape in shapes)
        codes = np.exp(2j * np.pi * rng.random((32, ARRAY.num_elements)))
        vectors = steering_vectors(*(tf.constant(x) for x in truth[:, :3].T), ARRAY).numpy()
        column = np.exp(0.5 * truth[:, 3] + 1j * truth[:, 4]) @ vectors
        clean = np.einsum("mn,ln,n,l->lm", channel, codes, column, symbols)
        snapshots = clean + np.sqrt(NOISE * np.mean(np.abs(clean) ** 2)) * noise
        arrays = (tf.constant(x[None], tf.complex64) for x in (snapshots, codes, channel))
        scene = observe(*arrays, tf.constant([-10 * np.log10(NOISE)], tf.float32)).scene(0)
        start = tf.constant(truth + offset, tf.float32)
        paths, evaluation = refinement()(scene, Paths(start, tf.constant([0, 0]), scene.noise_power), 15)
        difference = paths.parameters.numpy() - truth
        difference[1, 3] -= difference[0, 3]  # absolute powers depend on the normalisation
        power, phase = 6, 8  # order of the parameters: power of the direct path, phase of the reflected one
        fisher = evaluation.fisher.numpy().astype(float)
        change = np.eye(9)
        change[power + 1, power] = 1.0  # the power of the reflection is that of the direct path plus a difference
        covariance = np.linalg.inv(change.T @ fisher @ change)
        free = [*range(6), power + 1, phase]
        error = np.append(difference[:, :3].T.ravel(), [difference[1, 3], difference[1, 4]])
        errors.append(error @ np.linalg.inv(covariance[np.ix_(free, free)]) @ error)
    assert 0.5 < np.mean(errors) / 8 < 1.7  # far tails of chi-square with 48 degrees of freedom


def test_adds_what_is_missing(observation: Observation) -> None:
    grid = PolarDictionary(ARRAY, VIEW, GridConfig())
    for number, model in enumerate(refine(observation, PLACES[:1], POWERS[:1])):
        scene = observation.scene(number)
        found = residual_peak(scene, *model, grid, RefinementConfig().candidates)
        assert found.llr[0] > RefinementConfig().prune_llr
        paths, _ = refinement()(scene, model[0].with_source(found.parameters[0]), 15)
        assert int(paths.num_sources) == 2
        distance = np.linalg.norm(paths.parameters.numpy()[:, None, :3] - PLACES, axis=-1)
        assert np.all(distance.min(axis=0) < 0.03)


def test_grid_peaks_are_local_maxima_in_falling_order() -> None:
    grid = PolarDictionary(RISArray(4, 4), VIEW, GridConfig(7, 6, 5))
    score = np.random.default_rng(3).random((2, 7, 6, 5)).astype(np.float32)
    indices, values = grid_peaks(tf.constant(score.reshape(2, -1)), grid, 30)
    for scene in range(2):
        padded = np.pad(score[scene], 1, constant_values=-1)
        maxima = [
            score[scene][i, j, k]
            for i, j, k in np.ndindex(7, 6, 5)
            if score[scene][i, j, k] == padded[i : i + 3, j : j + 3, k : k + 3].max()
        ]
        expected = np.sort(maxima)[::-1][:30]
        found = values[scene].numpy()
        np.testing.assert_array_equal(found[: len(expected)], expected)
        assert np.all(np.isneginf(found[len(expected) :]))
        np.testing.assert_array_equal(score[scene].ravel()[indices[scene].numpy()[: len(expected)]], expected)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", -1),
        ("additions", -1),
        ("candidates", 0),
        ("low_rank_steps", 0),
        ("low_rank_branches", 0),
        ("low_rank_llr", -1.0),
        ("settling_steps", -1),
        ("tolerance", -0.1),
        ("prune_llr", -1.0),
        ("noise_range_db", (1.0, 2.0)),
    ],
)
def test_refusals(field: str, value) -> None:
    with pytest.raises(ValueError, match=rf"RefinementConfig\.{field}(\[\d\])?: expected"):
        RefinementConfig(**{field: value})
