"""Greedy selection: log-likelihood ratios of new sources against the likelihood, and when sources are added."""

import dataclasses

import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from models.covariance_estimator.config import GridConfig, RefinementConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.greedy_selection import GreedySelection, Refined
from models.covariance_estimator.likelihood import evaluate
from models.covariance_estimator.new_source import best_power, llr_at, residual_peak
from models.covariance_estimator.off_grid_refinement import Refinement
from models.physics.observation import Observation, observe
from models.physics.steering import steering_vectors
from tests.models.test_off_grid_refinement import ARRAY, PLACES, POWERS, SCENARIO, VIEW, sources_at

GRID = PolarDictionary(ARRAY, VIEW, GridConfig())
CONFIG = RefinementConfig()
REFINEMENT = Refinement(SCENARIO, CONFIG)
SOURCES = [2, 1, 2, 1]
YES, NO = tf.constant(True), tf.constant(False)


@pytest.fixture(scope="module")
def scenes() -> list[Observation]:
    """Both sources of test_off_grid_refinement in scenes 0 and 2, only the first one in scenes 1 and 3; SNR 17 dB."""
    rng = np.random.default_rng(2)
    batch, num_snapshots, num_antennas = len(SOURCES), 32, 12

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=(*shape, 2)) @ [1, 1j] / np.sqrt(2)

    channel = normal(batch, num_antennas, ARRAY.num_elements)
    codes = np.exp(2j * np.pi * rng.random((batch, num_snapshots, ARRAY.num_elements)))
    vectors = steering_vectors(*(tf.constant(x) for x in PLACES.T), ARRAY).numpy()
    symbols = normal(batch, num_snapshots, 2) * np.sqrt(POWERS)
    symbols[[1, 3], :, 1] = 0.0
    clean = np.einsum("bmn,bln,kn,blk->blm", channel, codes, vectors, symbols)
    power = np.mean(np.abs(clean) ** 2, axis=(1, 2), keepdims=True)
    snapshots = clean + np.sqrt(0.02 * power) * normal(*clean.shape)
    arrays = (tf.constant(x, tf.complex64) for x in (snapshots, codes, channel))
    observation = observe(*arrays, tf.fill([batch], np.float32(-10.0 * np.log10(0.02))))
    return [observation.scene(number) for number in range(batch)]


@pytest.fixture(scope="module")
def first(scenes: list[Observation]) -> list[Refined]:
    """The first source of each scene, refined."""
    return [Refined(*REFINEMENT(scene, sources_at(scene, PLACES[:1], POWERS[:1]), 10)) for scene in scenes]


def peak(scene: Observation, model: Refined):
    return residual_peak(scene, *model, GRID, CONFIG.candidates)


def select(scene: Observation, model: Refined, low_rank: tf.Tensor = NO, slots: int = 5, **changes) -> Refined:
    """Greedy selection with a changed config, which the refinement shares."""
    config = dataclasses.replace(CONFIG, **changes)
    refinement = Refinement(SCENARIO, config) if changes else REFINEMENT
    return GreedySelection(GRID, refinement, slots)(scene, model, low_rank)


def test_best_power_is_the_best() -> None:
    rng = np.random.default_rng(3)
    alpha = rng.uniform(0.5, 2.0, size=(16, 5)) * np.array([0.1, 1.0, 5.0, 30.0, 300.0])
    power = np.array([20.0, 2.0, 0.1, 0.5, 0.01])
    b = alpha * (1.0 + power * alpha) * rng.exponential(size=alpha.shape)
    parts = [tf.constant(part, tf.float32) for part in (alpha, b)]
    found = best_power(*parts)
    llr = llr_at(found, *parts)
    for column in range(5):

        def loss(log_power: float, a=alpha[:, column], seen=b[:, column]) -> float:
            loaded = 1.0 + np.exp(log_power) * a
            return float(np.sum(np.log(loaded) - np.exp(log_power) * seen / loaded))

        best = scipy.optimize.minimize_scalar(loss, bounds=(-10.0, 10.0), method="bounded")
        assert loss(np.log(found[column])) == pytest.approx(best.fun, abs=1e-2)
        assert float(llr[column]) == pytest.approx(-loss(np.log(found[column])), rel=1e-4, abs=1e-3)


def test_log_likelihood_ratio_is_that_of_the_likelihood(scenes: list[Observation], first: list[Refined]) -> None:
    """The found peak adds exactly its log-likelihood ratio before refinement, with any sources in the model."""
    for scene, model, sources in zip(scenes, first, SOURCES, strict=True):
        found = peak(scene, model)
        assert found.parameters.shape == (1, 4)
        assert (found.llr[0] > CONFIG.prune_llr) == (sources == 2)
        now = evaluate(scene, model.paths, ARRAY)
        found = peak(scene, Refined(model.paths, now))
        grown = evaluate(scene, model.paths.with_source(found.parameters[0]), ARRAY)
        np.testing.assert_allclose(now.nll - grown.nll, found.llr[0], rtol=1e-3, atol=0.05)


def test_a_source_is_added_above_the_threshold_only(scenes: list[Observation], first: list[Refined]) -> None:
    """A threshold just above the log-likelihood ratio rejects the source, one just below accepts it."""
    for number in (0, 2):
        llr = float(peak(scenes[number], first[number]).llr[0])
        assert llr > CONFIG.prune_llr
        for share, expected in ((0.99, 2), (1.01, 1)):
            reached = select(scenes[number], first[number], prune_llr=share * llr, additions=1, low_rank_additions=1)
            assert int(reached.paths.num_sources) == expected


@pytest.mark.parametrize("low_rank", [NO, YES])
def test_complete_scenes_stay_as_they_are(scenes: list[Observation], first: list[Refined], low_rank) -> None:
    number = 2 if low_rank else 4  # the search for low-rank channels takes longer
    for scene, model, sources in zip(scenes[:number], first[:number], SOURCES[:number], strict=True):
        reached = select(scene, model, low_rank, low_rank_llr=CONFIG.prune_llr)
        assert int(reached.paths.num_sources) == sources
        if sources == 1:
            for before, after in zip(tf.nest.flatten(model), tf.nest.flatten(reached), strict=True):
                np.testing.assert_array_equal(before, after)
        else:
            assert reached.evaluation.nll < model.evaluation.nll
            distance = np.linalg.norm(reached.paths.parameters.numpy()[:, None, :3] - PLACES, axis=-1)
            assert np.all(distance.min(axis=0) < 0.03)
        again = evaluate(scene, reached.paths, ARRAY)
        np.testing.assert_allclose(reached.evaluation.nll, again.nll, rtol=1e-5)


def test_no_more_sources_than_slots_and_no_more_rounds_than_allowed(
    scenes: list[Observation], first: list[Refined]
) -> None:
    for low_rank in (NO, YES):
        assert int(select(scenes[0], first[0], low_rank, slots=1).paths.num_sources) == 1
        assert select(scenes[0], first[0], low_rank, additions=0) is first[0]


@pytest.mark.parametrize("low_rank", [NO, YES])
def test_a_scene_without_sources(scenes: list[Observation], low_rank: tf.Tensor) -> None:
    """All sources are found from none. Noise alone stays without sources."""
    rng = np.random.default_rng(1)
    nothing = sources_at(scenes[0], np.zeros([0, 3]), np.zeros(0))
    found = select(scenes[0], Refined(*REFINEMENT(scenes[0], nothing, 2)), low_rank)
    distance = np.linalg.norm(found.paths.parameters.numpy()[:, None, :3] - PLACES, axis=-1)
    assert np.all(distance.min(axis=0) < 0.03)
    noise = rng.normal(size=(*scenes[0].snapshots.shape, 2)) @ [1, 1j] / np.sqrt(2.0)
    silent = scenes[0]._replace(snapshots=tf.constant(noise, tf.complex64), noise_power=tf.constant(1.0))
    nothing = nothing._replace(noise_power=tf.constant(1.0))
    start = Refined(*REFINEMENT(silent, nothing, 2))
    assert start.evaluation.fisher.shape == (0, 0)
    reached = select(silent, start, low_rank, low_rank_llr=CONFIG.prune_llr)
    assert int(reached.paths.count) == 0
    assert np.isfinite(reached.evaluation.nll)
    assert float(start.paths.noise_power) == pytest.approx(1.0, rel=0.2)
