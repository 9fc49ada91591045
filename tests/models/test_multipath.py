"""Multipath: detection statistics, merging of coherent atoms, and the reported sources."""

import numpy as np
import pytest
import tensorflow as tf
from models.multipath.path_search import coherent_pair, path_scores, search_paths
from models.multipath.paths import no_paths, unmix
from scipy import stats

from models.config import LocalizerConfig
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import RefinementConfig
from models.covariance_estimator.off_grid_refinement import refine_atoms
from models.localizer import Localizer
from models.multipath.config import MultipathConfig
from models.multipath.estimation import estimate_multipath
from models.physics.geometry import RISArray, Scenario
from models.physics.observation import observe
from tests.reflected import (
    ARRAY,
    DIRECT,
    GRID,
    NUM_SNAPSHOTS,
    OUTSIDE,
    REFLECTED,
    VIEW,
    atoms_at,
    explained,
    measured,
    normal,
    vectors_of,
)


class TestStatistic:
    @pytest.fixture(scope="class")
    def independent(self):
        """300 scenes of two independent sources, with atoms at their true positions."""
        rng = np.random.default_rng(1)
        points = [DIRECT, REFLECTED]
        columns = vectors_of(points)
        observation = observe(**measured(rng, columns, normal(rng, 300, NUM_SNAPSHOTS, 2), 5.0))
        share = np.log(0.5 * (1.0 - float(observation.noise_power[0])))
        atoms = atoms_at(points, [share, share - 1e-3], observation)
        return observation, atoms, unmix(observation, atoms, no_paths(tf.constant(300), 1), ARRAY)

    def test_ratio_of_a_pair_of_independent_sources_is_exponential(self, independent) -> None:
        observation, atoms, unmixed = independent
        llr = coherent_pair(atoms, no_paths(tf.constant(300), 1), unmixed, path_scores(observation, unmixed), ARRAY)[
            2
        ].numpy()
        assert llr.mean() == pytest.approx(1.0, abs=0.25)
        assert stats.kstest(llr, "expon").pvalue > 1e-3

    def test_ratio_of_a_path_that_is_not_there_is_exponential(self, independent) -> None:
        observation, _, unmixed = independent
        vector = tf.constant(vectors_of([OUTSIDE])[0], tf.complex64)
        score = tf.einsum("n,bna->ba", tf.math.conj(vector), path_scores(observation, unmixed))
        response = tf.matmul(unmixed.root, observation.respond(tf.tile(vector[None, :, None], [300, 1, 1])))
        energy = tf.reduce_sum(tf.abs(response[..., 0]) ** 2, axis=2)
        llr = tf.abs(score) ** 2 / tf.einsum("bl,bla->ba", energy, unmixed.certainty)
        assert stats.kstest(llr[:, 0].numpy(), "expon").pvalue > 1e-3

    def test_no_direction_reaches_the_threshold_of_a_path(self, independent) -> None:
        observation, atoms, unmixed = independent
        llr = search_paths(observation, atoms, unmixed, path_scores(observation, unmixed), GRID, 1, 1).llr.numpy()
        assert np.mean(llr > MultipathConfig().min_llr) < 0.02

    def test_the_same_symbols_gain_as_many_nats_as_there_are_snapshots(self) -> None:
        rng = np.random.default_rng(2)
        columns = vectors_of([DIRECT, REFLECTED])
        symbols = np.repeat(normal(rng, 50, NUM_SNAPSHOTS, 1), 2, axis=-1)
        observation = observe(**measured(rng, columns, symbols, 25.0))
        atoms = atoms_at([DIRECT, REFLECTED], [-0.7, -0.7001], observation)
        unmixed = unmix(observation, atoms, no_paths(tf.constant(50), 1), ARRAY)
        weak, path, llr = coherent_pair(
            atoms, no_paths(tf.constant(50), 1), unmixed, path_scores(observation, unmixed), ARRAY
        )
        assert np.median(llr) == pytest.approx(NUM_SNAPSHOTS, rel=0.25)
        assert (weak.numpy() == 1).all() and (path.source.numpy() == 0).all()
        np.testing.assert_allclose(path.phase.numpy()[:, 0], 0.0, atol=0.3)


class TestScenes:
    @pytest.fixture(scope="class")
    def reflecting(self):
        """12 scenes of a source with a reflection of -6 dB inside the field of view and one of -10 dB outside."""
        rng = np.random.default_rng(3)
        column = np.array([1.0, 0.5 * np.exp(1j), 10**-0.5 * 1j]) @ vectors_of([DIRECT, REFLECTED, OUTSIDE])
        return observe(**measured(rng, column[None], normal(rng, 12, NUM_SNAPSHOTS, 1), 20.0))

    def test_an_atom_on_a_reflection_becomes_a_path_and_so_does_an_image_outside(self, reflecting) -> None:
        found = explained(reflecting, atoms_at([DIRECT, REFLECTED], [-0.3, -1.6], reflecting))
        assert (found.atoms.active.numpy() == [True, False]).all()
        assert (found.paths.active.numpy().sum(axis=1) >= 2).all()
        assert (found.paths.source.numpy()[found.paths.active.numpy()] == 0).all()
        active, points = found.paths.active.numpy(), found.paths.points.numpy()
        for truth in (REFLECTED, OUTSIDE):
            distance = np.where(active, np.linalg.norm(points[..., :2] - truth[:2], axis=-1), 9.0)
            assert np.median(distance.min(axis=1)) < 0.03

    def test_the_direct_path_is_where_the_source_is(self, reflecting) -> None:
        """Reflections bias an estimate that ignores them; the likelihood with paths removes the bias."""
        start = atoms_at([DIRECT, REFLECTED], [-0.3, -1.6], reflecting)
        blind = explained(reflecting, start, MultipathConfig(rounds=0)).atoms.parameters.numpy()[:, 0, :3]
        found = explained(reflecting, start)
        error = np.abs(found.atoms.parameters.numpy()[:, 0, :3] - DIRECT)
        assert (np.median(error, axis=0) < [0.003, 0.003, 0.01]).all()
        assert np.mean(error**2) < 0.5 * np.mean((blind - DIRECT) ** 2)

    def test_independent_sources_stay_two(self) -> None:
        rng = np.random.default_rng(4)
        columns = vectors_of([DIRECT, REFLECTED]) * np.array([[1.0], [0.5]])
        observation = observe(**measured(rng, columns, normal(rng, 12, NUM_SNAPSHOTS, 2), 20.0))
        found = explained(observation, atoms_at([DIRECT, REFLECTED], [-0.3, -1.6], observation))
        assert found.atoms.active.numpy().all()
        assert found.paths.active.numpy().mean() < 0.02

    def test_sources_whose_symbols_are_correlated_stay_two(self) -> None:
        """At a correlation of 0.7 one symbol sequence cannot explain both sources."""
        rng = np.random.default_rng(5)
        symbols = normal(rng, 12, NUM_SNAPSHOTS, 2)
        symbols[..., 1] = 0.7 * symbols[..., 0] + np.sqrt(1 - 0.7**2) * symbols[..., 1]
        columns = vectors_of([DIRECT, REFLECTED]) * np.array([[1.0], [0.5]])
        observation = observe(**measured(rng, columns, symbols, 20.0))
        found = explained(observation, atoms_at([DIRECT, REFLECTED], [-0.3, -1.6], observation))
        assert found.atoms.active.numpy().all()
        error = np.abs(found.atoms.parameters.numpy()[..., :2] - np.array([DIRECT, REFLECTED])[:, :2])
        assert np.median(error) < 0.01

    @pytest.mark.extended
    def test_the_order_of_the_atoms_does_not_matter(self, reflecting) -> None:
        points, powers = np.array([DIRECT, REFLECTED, (0.0, 0.4, 0.3)]), np.array([-0.3, -1.6, -4.0])
        order = [2, 0, 1]
        straight = explained(reflecting, atoms_at(points, powers, reflecting))
        turned = explained(reflecting, atoms_at(points[order], powers[order], reflecting))
        np.testing.assert_allclose(straight.evaluation.nll, turned.evaluation.nll, rtol=1e-3, atol=0.5)
        np.testing.assert_array_equal(straight.atoms.active.numpy()[:, order], turned.atoms.active)
        active = turned.atoms.active.numpy()
        np.testing.assert_allclose(
            straight.atoms.parameters.numpy()[:, order][active], turned.atoms.parameters.numpy()[active], atol=5e-3
        )

    def test_no_rounds_leave_everything_as_it_is(self, reflecting) -> None:
        start = atoms_at([DIRECT, REFLECTED], [-0.3, -1.6], reflecting)
        atoms, evaluation = refine_atoms(reflecting, start, ARRAY, VIEW, RefinementConfig(), 6)
        found = estimate_multipath(
            reflecting, atoms, evaluation, GRID, VIEW, RefinementConfig(), MultipathConfig(rounds=0)
        )
        np.testing.assert_array_equal(found.atoms.parameters, atoms.parameters)
        assert not found.paths.active.numpy().any()


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
