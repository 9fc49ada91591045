"""Multipath: detection statistics, merging of coherent atoms, and the reported sources."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from models.config import LocalizerConfig
from models.covariance_estimator.backbone import Backbone
from models.localizer import Localizer
from models.multipath.config import MultipathConfig
from models.multipath.estimation import MultipathModel, estimate_multipath
from models.multipath.reflections import power_map, with_coherent_pair
from models.physics.geometry import RISArray, Scenario
from models.physics.observation import Observation, observe
from tests.reflected import (
    DIRECT,
    GRID,
    NUM_SNAPSHOTS,
    OUTSIDE,
    REFINEMENT,
    REFLECTED,
    Explained,
    explained,
    measured,
    normal,
    paths_at,
    scenes_of,
    scored,
    vectors_of,
)


class TestStatistic:
    @pytest.fixture(scope="class")
    def independent(self):
        """300 scenes of two independent sources, and the likelihood at their true positions."""
        rng = np.random.default_rng(1)
        points = [DIRECT, REFLECTED]
        columns = vectors_of(points)
        observation = observe(**measured(rng, columns, normal(rng, 300, NUM_SNAPSHOTS, 2), 5.0))
        share = np.log(0.5 * (1.0 - float(observation.noise_power[0])))
        scenes = list(scenes_of(observation))
        return [(scene, scored(scene, paths_at(points, [share, share - 1e-3], scene))) for scene in scenes]

    def test_ratio_of_a_pair_of_independent_sources_is_exponential(self, independent) -> None:
        llr = np.array([with_coherent_pair(*model[:2])[1] for _, model in independent])
        assert llr.mean() == pytest.approx(1.0, abs=0.25)
        assert stats.kstest(llr, "expon").pvalue > 1e-3

    def test_ratio_of_a_path_that_is_not_there_is_exponential(self, independent) -> None:
        vector = tf.constant(vectors_of([OUTSIDE]), tf.complex64)
        llr = [ratios(scene, model, vector)[0, 0] for scene, model in independent]
        assert stats.kstest(llr, "expon").pvalue > 1e-3

    def test_no_direction_reaches_the_threshold_of_a_path(self, independent) -> None:
        most = []
        for scene, model in independent:
            possible = power_map(model.scores, model.paths.parameters[:, 2], GRID) > 0.0
            most.append(np.max(np.where(possible, ratios(scene, model, tf.constant(GRID.vectors)), 0.0)))
        assert np.mean(np.array(most) > MultipathConfig().min_llr) < 0.02

    def test_the_same_symbols_gain_as_many_nats_as_there_are_snapshots(self) -> None:
        rng = np.random.default_rng(2)
        points = [DIRECT, REFLECTED]
        symbols = np.repeat(normal(rng, 50, NUM_SNAPSHOTS, 1), 2, axis=-1)
        observation = observe(**measured(rng, vectors_of(points), symbols, 25.0))
        models = [scored(scene, paths_at(points, [-0.7, -0.7001], scene)) for scene in scenes_of(observation)]
        pairs = [with_coherent_pair(*model[:2]) for model in models]
        assert np.median([llr for _, llr in pairs]) == pytest.approx(NUM_SNAPSHOTS, rel=0.25)
        for merged, _ in pairs:
            np.testing.assert_array_equal(merged.source, [0, 0])
            np.testing.assert_allclose(merged.parameters[0, :3], DIRECT)
            np.testing.assert_allclose(merged.parameters[1, 4], 0.0, atol=0.3)


@tf.function(autograph=False)
def ratios(scene: Observation, model: MultipathModel, vectors: tf.Tensor) -> tf.Tensor:
    """Log-likelihood ratios |g|^2 / f of paths with these vectors [J, N] and the symbols of each source: [A, J]."""
    g = tf.matmul(model.scores, vectors, adjoint_b=True)
    noise_power = model.paths.noise_power
    energy = model.evaluation.energy(scene.respond(vectors), noise_power)
    return tf.abs(g) ** 2 / tf.matmul(model.evaluation.certainty(noise_power), energy, transpose_a=True)


def sources(found: list[Explained]) -> list[np.ndarray]:
    """Parameters of the direct paths of each scene, the strongest first, [A, 5]."""
    direct = [scene.paths.parameters.numpy()[: scene.paths.num_sources] for scene in found]
    return [each[np.argsort(-each[:, 3])] for each in direct]


class TestScenes:
    @pytest.fixture(scope="class")
    def reflecting(self):
        """12 scenes of a source with a reflection of -6 dB inside the field of view and one of -10 dB outside."""
        rng = np.random.default_rng(3)
        column = np.array([1.0, 0.5 * np.exp(1j), 10**-0.5 * 1j]) @ vectors_of([DIRECT, REFLECTED, OUTSIDE])
        return observe(**measured(rng, column[None], normal(rng, 12, NUM_SNAPSHOTS, 1), 20.0))

    def test_a_source_on_a_reflection_becomes_a_path_and_so_does_an_image_outside(self, reflecting) -> None:
        found = explained(reflecting, [DIRECT, REFLECTED], [-0.3, -1.6])
        for scene in found:
            assert scene.paths.num_sources == 1 and scene.paths.count >= 3
        for truth in (REFLECTED, OUTSIDE):
            distance = [np.linalg.norm(scene.paths.parameters[1:, :2] - truth[:2], axis=-1).min() for scene in found]
            assert np.median(distance) < 0.03

    def test_the_direct_path_is_where_the_source_is(self, reflecting) -> None:
        """Reflections bias an estimate that ignores them; the likelihood with paths removes the bias."""
        start = [DIRECT, REFLECTED], [-0.3, -1.6]
        blind = explained(reflecting, *start, MultipathConfig(rounds=0))
        of_blind, error = (
            np.abs(np.stack([scene.paths.parameters[0, :3] for scene in found]) - DIRECT)
            for found in (blind, explained(reflecting, *start))
        )
        assert (np.median(error, axis=0) < [0.003, 0.003, 0.01]).all()
        assert np.mean(error**2) < 0.5 * np.mean(of_blind**2)

    def test_independent_sources_stay_two(self) -> None:
        rng = np.random.default_rng(4)
        columns = vectors_of([DIRECT, REFLECTED]) * np.array([[1.0], [0.5]])
        observation = observe(**measured(rng, columns, normal(rng, 12, NUM_SNAPSHOTS, 2), 20.0))
        found = explained(observation, [DIRECT, REFLECTED], [-0.3, -1.6])
        assert [int(scene.paths.num_sources) for scene in found] == [2] * 12
        reflected = [int(scene.paths.count) - 2 for scene in found]
        assert np.mean(reflected) / MultipathConfig().max_paths < 0.02

    def test_sources_whose_symbols_are_correlated_stay_two(self) -> None:
        """At a correlation of 0.7 one symbol sequence cannot explain both sources."""
        rng = np.random.default_rng(5)
        symbols = normal(rng, 12, NUM_SNAPSHOTS, 2)
        symbols[..., 1] = 0.7 * symbols[..., 0] + np.sqrt(1 - 0.7**2) * symbols[..., 1]
        columns = vectors_of([DIRECT, REFLECTED]) * np.array([[1.0], [0.5]])
        observation = observe(**measured(rng, columns, symbols, 20.0))
        found = explained(observation, [DIRECT, REFLECTED], [-0.3, -1.6])
        assert [int(scene.paths.num_sources) for scene in found] == [2] * 12
        error = np.abs(
            np.stack([scene.paths.parameters[:2, :2] for scene in found]) - np.array([DIRECT, REFLECTED])[:, :2]
        )
        assert np.median(error) < 0.01

    @pytest.mark.extended
    def test_the_order_of_the_sources_does_not_matter(self, reflecting) -> None:
        points, powers = np.array([DIRECT, REFLECTED, (0.0, 0.4, 0.3)]), np.array([-0.3, -1.6, -4.0])
        order = [2, 0, 1]
        straight, turned = explained(reflecting, points, powers), explained(reflecting, points[order], powers[order])
        for one, other in zip(straight, turned, strict=True):
            np.testing.assert_allclose(one.evaluation.nll, other.evaluation.nll, rtol=1e-3, atol=0.5)
        for one, other in zip(sources(straight), sources(turned), strict=True):
            np.testing.assert_allclose(one, other, atol=5e-3)

    def test_no_rounds_leave_everything_as_it_is(self, reflecting) -> None:
        for scene in scenes_of(reflecting):
            refined = REFINEMENT(scene, paths_at([DIRECT, REFLECTED], [-0.3, -1.6], scene), 6)
            found = estimate_multipath(scene, *refined, GRID, REFINEMENT, MultipathConfig(rounds=0))
            tf.nest.map_structure(np.testing.assert_array_equal, (found.paths, found.evaluation), refined)


@pytest.mark.extended
def test_the_localizer_reports_one_source_at_its_direct_path() -> None:
    rng = np.random.default_rng(6)
    scenario = Scenario(RISArray())
    points = [(0.2, 0.1, 0.25), (-0.6, -0.2, 0.11)]
    column = np.array([1.0, 0.4j]) @ vectors_of(points, scenario.array)
    inputs = measured(rng, column[None], normal(rng, 3, 64, 1), 18.0, scenario.num_antennas)
    backbone = Backbone(scenario)
    found = Localizer(backbone).localize(**inputs)
    blind = Localizer(backbone, LocalizerConfig(multipath=MultipathConfig(rounds=0))).localize(**inputs)
    assert (blind["num_sources"].numpy() >= 2).all() and (blind["num_paths"].numpy() <= 1).all()
    assert (found["num_sources"].numpy() == 1).all()
    assert (found["num_paths"].numpy()[:, 0] >= 2).all() and not found["num_paths"].numpy()[:, 1:].any()
    np.testing.assert_allclose(np.radians(found["azimuth_deg"][:, 0]), 0.2, atol=0.01)
    np.testing.assert_allclose(found["range_m"][:, 0], 4.0, atol=0.3)


@pytest.mark.parametrize("setting", [{"max_paths": 0}, {"rounds": -1}, {"min_llr": 0.0}, {"steps": 0}])
def test_impossible_settings_are_refused(setting: dict) -> None:
    with pytest.raises(ValueError, match=f"MultipathConfig.*{next(iter(setting))}"):
        MultipathConfig(**setting)
