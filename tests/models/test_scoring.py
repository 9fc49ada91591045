"""The score correction: changes nothing before training, and does not depend on the slot of a candidate."""

import numpy as np
import pytest
import tensorflow as tf

from models.artifacts import load_weights
from models.covariance_estimator.backbone import Backbone
from models.decision.decision import Decision
from models.decision.scoring import NUM_FEATURES, ScoreCorrection, score_logit
from models.localizer import Localizer
from models.localizer_weights import LocalizerWeights
from models.physics.geometry import Scenario
from tests.conftest import TINY
from tests.simulated import batch_of, inputs_of


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    return Localizer(Backbone())


@pytest.fixture(scope="module")
def candidates(localizer: Localizer):
    inputs = {name: tf.constant(value) for name, value in inputs_of(batch_of(6)).items()}
    return localizer.candidates(**inputs)


def scored(score: tf.Tensor) -> Decision:
    """A decision with these scores [B, A] and unit covariances."""
    nothing = tf.zeros_like(score)
    covariance = tf.broadcast_to(tf.eye(3), [*score.shape, 3, 3])
    return Decision(nothing, nothing, nothing, tf.zeros([*score.shape, 3]), covariance, score)


def test_untrained_it_changes_nothing() -> None:
    correction = ScoreCorrection()
    correction.build((None, None, NUM_FEATURES))
    decision = scored(tf.constant([[0.0, 0.0003, 0.25], [0.5, 0.9996, 1.0]]))
    features = tf.random.stateless_normal([2, 3, NUM_FEATURES], seed=(1, 2))
    corrected = correction.correct(decision, features)
    np.testing.assert_allclose(corrected.score, decision.score, atol=1e-6)
    np.testing.assert_array_equal(corrected.position_cov_m2, decision.position_cov_m2)


def test_what_it_says_is_added_to_the_logit_and_stretches_the_covariance() -> None:
    correction = ScoreCorrection()
    correction.build((None, None, NUM_FEATURES))
    correction.readout.bias.assign([1.5, np.log(3.0)])
    score = tf.constant([[0.0, 0.2, 0.9]])
    corrected = correction.correct(scored(score), tf.zeros([1, 3, NUM_FEATURES]))
    assert corrected.score[0, 0] == 0.0  # a score of zero stays zero
    expected = 1.0 / (1.0 + np.exp(-(score_logit(score).numpy()[0, 1:] + 1.5)))
    np.testing.assert_allclose(corrected.score[0, 1:], expected, atol=1e-4)
    np.testing.assert_allclose(corrected.position_cov_m2[0, 1], 3.0 * np.eye(3), rtol=1e-6)
    correction.readout.bias.assign([0.0, 100.0])  # the factor is limited
    stretched = correction.correct(scored(score), tf.zeros([1, 3, NUM_FEATURES]))
    np.testing.assert_allclose(stretched.position_cov_m2[0, 1], 30.0 * np.eye(3), rtol=1e-5)


def test_features_are_moderate_and_belong_to_the_candidate(localizer: Localizer, candidates) -> None:
    features, score = candidates.features.numpy(), candidates.decision.score.numpy()
    assert features.shape == (*score.shape, NUM_FEATURES)
    assert np.all(np.abs(features) < 20.0)
    report = localizer.report(candidates, 0.0, with_features=True)
    for scene, number in enumerate(report["num_sources"].numpy()):
        order = np.argsort(-score[scene], kind="stable")[:number]
        np.testing.assert_array_equal(report["score_features"][scene, :number], features[scene, order])
        assert np.all(np.isnan(report["score_features"][scene, number:]))


@pytest.mark.extended
def test_it_moves_scores_in_the_localizer_and_nothing_else(localizer: Localizer, candidates) -> None:
    inputs = {name: tf.constant(value) for name, value in inputs_of(batch_of(6)).items()}
    correction = localizer.weights.score_correction
    before = localizer.localize(**inputs)
    correction.readout.bias.assign([-30.0, 0.0])
    try:
        assert np.sum(localizer.localize(**inputs)["num_sources"]) == 0 < np.sum(before["num_sources"])
        hopeless = localizer.candidates(**inputs)
    finally:
        correction.readout.bias.assign([0.0, 0.0])
    np.testing.assert_allclose(hopeless.decision.position_m, candidates.decision.position_m)


def test_round_trip(tmp_path) -> None:
    """One file holds the backbone and the correction."""
    weights = LocalizerWeights(Backbone(Scenario(), TINY), ScoreCorrection(width=6))
    for number, variable in enumerate(weights.trainable_variables):
        variable.assign(tf.random.stateless_normal(variable.shape, seed=(3, number)))
    weights.save(tmp_path / "backbone.keras")
    loaded = load_weights(tmp_path / "backbone.keras")
    assert (loaded.backbone.config, loaded.score_correction.width) == (TINY, 6)
    assert [variable.path for variable in loaded.weights] == [variable.path for variable in weights.weights]
    for one, other in zip(loaded.weights, weights.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_localizer_from_a_backbone_alone_corrects_nothing(localizer: Localizer) -> None:
    assert not np.any(localizer.weights.score_correction.readout.kernel)
    assert localizer.weights.backbone is localizer.backbone
