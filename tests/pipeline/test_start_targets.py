"""Which candidate stands for which source, against a slow reference; and what its loss may move."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.config import LossConfig
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.start import Start
from models.physics.observation import observe
from models.physics.steering import steering_norm2
from pipeline.fitting.backbone_training import BackboneTraining
from pipeline.fitting.start_targets import StartTarget, start_loss, start_target
from tests.simulated import batch_of, inputs_of


def drawn():
    """Scenes, a backbone, and its candidates of them."""
    batch = batch_of(16)
    backbone = Backbone()
    observation = observe(**{name: tf.constant(value) for name, value in inputs_of(batch).items()})
    state = backbone.grid_stages(observation)[-1]
    return batch, backbone, observation.noise_power, backbone.candidates(state, observation.noise_power)


def test_sources_and_candidates_are_matched_one_to_one() -> None:
    """The strongest source chooses first among the candidates within a cell and a half, three in inverse range."""
    batch, backbone, noise_power, candidates = drawn()
    target = start_target(candidates, {k: tf.constant(v) for k, v in batch.items()}, noise_power, backbone.dictionary)
    grid, cell = backbone.dictionary.places().numpy(), backbone.dictionary.cell_size()
    matched = 0
    for scene, number in enumerate(batch["num_sources"]):
        azimuth, elevation = batch["azimuth"][scene, :number], batch["elevation"][scene, :number]
        inverse_range = 1.0 / batch["range_m"][scene, :number]
        norm2 = steering_norm2(*map(tf.constant, (azimuth, elevation, inverse_range)), backbone.scenario.array).numpy()
        share = batch["power"][scene, :number] * norm2
        share *= (1.0 - noise_power[scene].numpy()) / share.sum()
        places = np.stack([np.sin(azimuth), np.sin(elevation), inverse_range], axis=-1)
        taken: dict[int, int] = {}
        for source in np.argsort(-share):
            away = (places[source] - grid[candidates.indices[scene]]) / cell
            distance = np.max(np.abs(away) / (1.5, 1.5, 3.0), axis=-1)
            free = [i for i in range(len(distance)) if i not in taken and candidates.valid[scene, i]]
            nearest = min(free, key=lambda i: distance[i])
            if distance[nearest] < 1.0:
                taken[nearest] = source
                np.testing.assert_allclose(target.offsets[scene, nearest], away[nearest], atol=1e-3)
                lacks = np.log(share[source]) - candidates.log_power[scene, nearest]
                np.testing.assert_allclose(target.log_power[scene, nearest], np.clip(lacks, -4, 4), atol=1e-3)
        expected = [float(i in taken) for i in range(target.presence.shape[1])]
        np.testing.assert_array_equal(target.presence[scene], expected)
        matched += len(taken)
    assert matched > 0.6 * batch["num_sources"].sum()


def test_the_loss_is_least_at_the_truth() -> None:
    presence = tf.constant([[1.0, 0.0]])
    target = StartTarget(presence, tf.constant([[[0.3, -0.2, 0.5], [0, 0, 0]]]), tf.constant([[0.7, 0.0]]))
    told = Start(tf.constant([[9.0, -9.0]]), target.offsets, target.log_power)
    assert float(start_loss(told, target)[0]) < 1e-3
    for name, value in (("logits", -told.logits), ("offsets", -told.offsets), ("log_power", -told.log_power)):
        assert float(start_loss(told._replace(**{name: value}), target)[0]) > 0.1
    elsewhere = told._replace(offsets=told.offsets + tf.constant([[[0.0] * 3, [1.0] * 3]]))
    np.testing.assert_allclose(start_loss(elsewhere, target), start_loss(told, target))


@pytest.mark.extended
def test_the_start_learns_and_the_grid_stages_do_not_feel_it() -> None:
    batch, backbone, *_ = drawn()
    model = BackboneTraining(backbone, LossConfig(heat_map=0.0, stein=0.0, subspace_alignment=0.0))
    model.compile(optimizer=keras.optimizers.Adam(3e-3), jit_compile=False)
    scenes = {name: tf.constant(value) for name, value in batch.items()}
    before = [variable.numpy() for variable in backbone.grid_variables]
    step = tf.function(model.train_step, autograph=False)
    first = float(model.batch_losses(scenes)["start"])
    for _ in range(30):
        step(scenes)
    assert float(model.batch_losses(scenes)["start"]) < 0.7 * first
    for old, variable in zip(before, backbone.grid_variables, strict=True):
        np.testing.assert_array_equal(variable, old)
