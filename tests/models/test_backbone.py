"""Saving and loading a backbone: config, JSON and file."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import BackboneConfig, GridConfig, RefinementConfig
from models.physics.geometry import FieldOfView, RISArray, Scenario

SCENARIO = Scenario(
    RISArray(4, 4, wavelength_m=0.1, spacing_m=0.04, wavefront="fresnel", index_offset=-0.5),
    FieldOfView(azimuth_deg=(-50.0, 40.0), elevation_deg=(-20.0, 25.0), range_m=(0.4, 6.0)),
    num_antennas=12,
    max_sources=3,
)
CONFIG = BackboneConfig(
    stages=2,
    exponent=0.5,
    active_atoms=12,
    width=3,
    depth=2,
    grid=GridConfig(5, 4, 3),
    refinement=RefinementConfig(
        spare_atoms=0, steps=2, prune_llr=0.5, prune_after=1, addition_steps=2, noise_range_db=(-1.0, 7.0)
    ),
)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    """A backbone with random weights, so that they affect the result."""
    backbone, rng = Backbone(SCENARIO, CONFIG), np.random.default_rng(0)
    for variable in backbone.trainable_variables:
        variable.assign(0.3 * rng.normal(size=variable.shape))
    return backbone


@pytest.fixture(scope="module")
def inputs() -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(1)
    shapes = {"snapshots": (2, 8, 12), "ris_codes": (2, 8, 16), "channel": (2, 12, 16)}
    values = {name: rng.normal(size=(*shape, 2)) @ [1, 1j] for name, shape in shapes.items()}
    values["ris_codes"] /= np.abs(values["ris_codes"])
    return {name: tf.constant(value, tf.complex64) for name, value in values.items()} | {
        "snr_db": tf.constant([5.0, 12.0])
    }


def test_config_round_trip(backbone: Backbone) -> None:
    for config in (backbone.get_config(), json.loads(json.dumps(backbone.get_config()))):
        again = Backbone.from_config(config)
        assert (again.scenario, again.config) == (SCENARIO, CONFIG)


def test_saved_file_predicts_the_same(backbone: Backbone, inputs: dict[str, tf.Tensor], tmp_path: Path) -> None:
    backbone.save(tmp_path / "backbone.keras")
    again = keras.models.load_model(tmp_path / "backbone.keras")
    predicted = backbone(inputs).numpy()
    np.testing.assert_allclose(again(inputs), predicted, rtol=1e-5, atol=1e-6)
    untrained = Backbone(SCENARIO, CONFIG)(inputs).numpy()
    assert np.linalg.norm(untrained - predicted) > 1e-2 * np.linalg.norm(predicted)


@pytest.mark.promise("R_pred")
def test_predicted_covariance_is_hermitian_and_positive(backbone: Backbone, inputs: dict[str, tf.Tensor]) -> None:
    predicted = backbone(inputs).numpy().astype(np.complex128)
    np.testing.assert_allclose(predicted, predicted.conj().swapaxes(1, 2), atol=1e-6)
    eigenvalues = np.linalg.eigvalsh(predicted)
    assert np.all(eigenvalues[:, 0] > 0)
    assert np.sum(eigenvalues[0] > 10 * eigenvalues[0, 0]) <= SCENARIO.max_sources
