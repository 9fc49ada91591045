"""What BackboneTraining logs, against the losses' definitions on covariances built by the slow references."""

import dataclasses
import functools
import logging
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.config import LossConfig
from models.covariance_estimator.backbone import Backbone
from models.losses import heat_map_loss, peak_contrast_loss, stein_loss, subspace_alignment_loss
from models.physics.config import ShrinkageConfig
from models.physics.covariance import LowRankCovariance
from models.physics.geometry import FieldOfView, RISArray, Scenario
from models.physics.observation import observe
from pipeline.fitting.backbone_training import BackboneTraining
from pipeline.scenes.reading import load_scenes
from tests.conftest import SCENE_SETS, TINY
from tests.references.mvdr import spectrum as mvdr_reference
from tests.references.steering import steering_vector
from tests.simulated import INPUTS

ARRAY, VIEW = RISArray(), FieldOfView()
WEIGHTS = LossConfig(
    heat_map=0.7, stein=0.03, subspace_alignment=0.2, peak_contrast=0.5, start=0.0
)  # has tests of its own
SHRINKAGE = ShrinkageConfig(base_alpha=2e-3)


def grid_axes() -> list[np.ndarray]:
    """Cell centres in sin(azimuth), sin(elevation), 1 / range."""
    limits = [np.sin(VIEW.azimuth), np.sin(VIEW.elevation), VIEW.inverse_range]
    return [
        low + (high - low) * (np.arange(cells) + 0.5) / cells
        for (low, high), cells in zip(limits, TINY.grid.shape, strict=True)
    ]


def grid_points() -> np.ndarray:
    """[G, 3], range index fastest."""
    return np.stack(np.meshgrid(*grid_axes(), indexing="ij"), axis=-1).reshape(-1, 3)


def source_points(batch: dict[str, np.ndarray], scene: int) -> np.ndarray:
    """[K, 3] in the grid's coordinates."""
    used = slice(batch["num_sources"][scene])
    azimuth, elevation, range_m = (batch[name][scene, used] for name in ("azimuth", "elevation", "range_m"))
    return np.stack([np.sin(azimuth), np.sin(elevation), 1 / range_m], axis=-1)


def vectors(points: np.ndarray) -> np.ndarray:
    """Steering vectors [P, N] complex128."""
    return np.array([steering_vector(np.arcsin(u), np.arcsin(v), 1 / w, ARRAY) for u, v, w in points])


@functools.cache
def grid_vectors() -> np.ndarray:
    """[G, N]."""
    return vectors(grid_points())


def heat_map_target(batch: dict[str, np.ndarray], scene: int) -> np.ndarray:
    """Every source a Gaussian of one cell about it, all of one weight: [G], sum 1."""
    cells = np.array([axis[1] - axis[0] for axis in grid_axes()])
    target = np.zeros(TINY.grid.size)
    for point in source_points(batch, scene):
        bump = np.exp(-np.sum(((grid_points() - point) / cells) ** 2, axis=-1))
        target += bump / bump.sum() / batch["num_sources"][scene]
    return target


def scene_losses(batch: dict[str, np.ndarray], scene: int, gamma: np.ndarray) -> dict[str, float]:
    """The four losses of one scene and stage, from gamma [G] on."""
    atoms_on_grid = grid_vectors()
    strongest = np.argsort(gamma)[-TINY.active_atoms :]
    floor = (gamma.sum() - gamma[strongest].sum()) / ARRAY.num_elements + 1e-6
    factor = atoms_on_grid[strongest].T * np.sqrt(gamma[strongest])
    sources = vectors(source_points(batch, scene))
    power = batch["power"][scene, : len(sources)].astype(float)
    predicted = LowRankCovariance(tf.constant(factor[None]), tf.constant([floor]))
    true = LowRankCovariance(tf.constant((sources.T * np.sqrt(power / power.sum()))[None]), tf.zeros(1, tf.float64))
    steering = tf.constant(sources.T[None].astype(np.complex64))
    in_single = LowRankCovariance(tf.cast(predicted.factor, tf.complex64), tf.cast(predicted.floor, tf.float32))
    dense = factor @ factor.conj().T + floor * np.eye(ARRAY.num_elements)
    dense *= ARRAY.num_elements / np.trace(dense).real
    alpha = shrinkage(batch["snr_db"][scene])
    effective = (1 - alpha) * dense + alpha * np.eye(ARRAY.num_elements)
    found = {
        "heat_map": heat_map_loss(
            tf.constant(gamma[None], tf.float32), tf.constant(heat_map_target(batch, scene)[None], tf.float32)
        ),
        "stein": stein_loss(predicted, true),
        "subspace_alignment": subspace_alignment_loss(in_single, steering),
        "peak_contrast": peak_contrast_loss(
            tf.constant(1 / mvdr_reference(effective, sources)[None], tf.float32),
            tf.ones([1, len(sources)], tf.bool),
            tf.constant(1 / mvdr_reference(effective, atoms_on_grid)[None], tf.float32),
        ),
    }
    return {name: float(value[0]) for name, value in found.items()}


def shrinkage(snr_db: float) -> float:
    """alpha for L = 64 at twice the default base."""
    factor = next((f for level, f in ((15, 0.02), (8, 0.04), (3, 0.07), (-2, 0.10)) if snr_db >= level), 0.14)
    return float(np.clip(2 * factor * 0.5, 1e-4, 0.25))


@pytest.fixture(scope="module")
def model() -> BackboneTraining:
    """Two stages whose corrections are not zero."""
    backbone = Backbone(Scenario(), dataclasses.replace(TINY, stages=2))
    rng = np.random.default_rng(5)
    for correction in backbone.corrections:
        correction.readout.kernel.assign(0.05 * rng.normal(size=correction.readout.kernel.shape))
    training = BackboneTraining(backbone, WEIGHTS, SHRINKAGE)
    training.compile(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    return training


@pytest.fixture(scope="module")
def batch(tiny_scenes: Path) -> dict[str, np.ndarray]:
    (only,) = load_scenes(tiny_scenes, SCENE_SETS[0], "train", take=6, batch_size=6).as_numpy_iterator()
    return only


@pytest.fixture(scope="module")
def expected(model: BackboneTraining, batch: dict[str, np.ndarray]) -> dict[str, float]:
    """Means over the scenes, stage 1 of 2 weighing 1/3 and stage 2 the rest, and their weighted sum."""
    states = model.backbone.grid_stages(observe(*(tf.constant(batch[name]) for name in INPUTS)))
    assert len(states) == 2
    parts = dict.fromkeys(model.weights_by_name, 0.0)
    for weight, state in zip((1 / 3, 2 / 3), states, strict=True):
        gamma = state.gamma.numpy().astype(float)
        for scene in range(6):
            for name, value in scene_losses(batch, scene, gamma[scene]).items():
                parts[name] += weight * value / 6
    return {"loss": sum(getattr(WEIGHTS, name) * value for name, value in parts.items()), **parts}


def test_logged_losses_are_those_of_their_definitions(model, batch, expected: dict[str, float]) -> None:
    """Both what a training step logs (the learning rate is 0) and what a test step does."""
    history = model.fit(tf.data.Dataset.from_tensors(batch), epochs=1, verbose=0).history
    evaluated = model.evaluate(tf.data.Dataset.from_tensors(batch), return_dict=True, verbose=0)
    assert history.keys() == evaluated.keys() == expected.keys()
    for name, value in expected.items():
        assert history[name] == [pytest.approx(value, rel=2e-3, abs=2e-4)], name
        assert evaluated[name] == pytest.approx(value, rel=2e-3, abs=2e-4), name


def test_an_epoch_logs_the_mean_of_its_batches(model, batch) -> None:
    batches = tf.data.Dataset.from_tensor_slices(batch).batch(3)
    pieces = [model.batch_losses(half) for half in batches]
    evaluated = model.evaluate(batches, return_dict=True, verbose=0)
    for name, value in evaluated.items():
        assert value == pytest.approx(np.mean([piece[name] for piece in pieces]), rel=1e-4), name


@pytest.mark.extended
def test_training_lowers_the_losses_it_is_given(batch) -> None:
    """Fifteen steps on one batch; without any weight there is nothing to train."""
    keras.utils.set_random_seed(1)
    backbone = Backbone(Scenario(), dataclasses.replace(TINY, stages=2))
    training = BackboneTraining(backbone, LossConfig(heat_map=1.0, stein=0.0, subspace_alignment=1.0))
    training.compile(optimizer=keras.optimizers.Adam(1e-2), run_eagerly=True)
    scenes = tf.data.Dataset.from_tensors(batch)
    before = training.evaluate(scenes, return_dict=True, verbose=0)
    training.fit(scenes.repeat(15), verbose=0)
    after = training.evaluate(scenes, return_dict=True, verbose=0)
    for name, value in before.items():
        assert after[name] < value, name
    with pytest.raises(ValueError, match="LossConfig: expected at least one loss with a positive weight"):
        BackboneTraining(backbone, LossConfig(0.0, 0.0, 0.0, 0.0, 0.0))


def test_gradients_lose_no_imaginary_part(model, batch, caplog: pytest.LogCaptureFixture) -> None:
    """TensorFlow warns where one is cast away; all of them are real from the start."""
    logger, handler = tf.get_logger(), logging.Handler()
    heard: list[str] = []
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    handler.addFilter(lambda record: "casting an input" in record.getMessage())
    logger.addHandler(handler)
    caplog.set_level(logging.WARNING, logger.name)  # a server's main in this process may have raised it
    try:
        with tf.GradientTape() as tape:
            loss = model.batch_losses({name: tf.constant(value) for name, value in batch.items()})["loss"]
        tape.gradient(loss, model.backbone.grid_variables)
        tf.cast(tf.complex(1.0, 0.0), tf.float32)
    finally:
        logger.removeHandler(handler)
    (witness,) = heard  # that of the cast above, which is no gradient's
    assert "of type complex64" in witness
