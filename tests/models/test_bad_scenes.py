"""Invalid inputs: rejected in the graph with the name of the field, or answered with no source. Other scenes are
unaffected."""

import numpy as np
import pytest
import tensorflow as tf

from models.config import LocalizerConfig
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import BackboneConfig, GridConfig
from models.localizer import Localizer
from models.physics.geometry import RISArray, Scenario
from models.physics.observation import observe
from tests.simulated import batch_of, inputs_of
from tfds_shards.simulator import SceneConfig

SCENARIO = Scenario(RISArray(6, 6), num_antennas=8, max_sources=2)
CONFIG = SceneConfig("few_elements", SCENARIO, num_snapshots=24, snr_db=(20.0, 20.0), codebook="random")


@pytest.fixture(scope="module")
def localize():
    backbone = Backbone(SCENARIO, BackboneConfig(stages=2, active_atoms=16, grid=GridConfig(10, 7, 4)))
    localizer = Localizer(backbone, LocalizerConfig(spectrum_grid=GridConfig(16, 12, 8)))
    signature = {
        "snapshots": tf.TensorSpec([None, None, 8], tf.complex64),
        "ris_codes": tf.TensorSpec([None, None, 36], tf.complex64),
        "channel": tf.TensorSpec([None, 8, 36], tf.complex64),
        "snr_db": tf.TensorSpec([None], tf.float32),
    }
    step = tf.function(lambda inputs: localizer.localize(**inputs), input_signature=[signature], autograph=False)
    return lambda inputs: {name: value.numpy() for name, value in step(inputs).items()}


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    return inputs_of(batch_of(3, CONFIG))


@pytest.fixture(scope="module")
def found(localize, inputs) -> dict[str, np.ndarray]:
    found = localize(inputs)
    assert np.all(found["num_sources"] > 0)
    return found


@pytest.mark.extended
@pytest.mark.parametrize("name", ["snapshots", "ris_codes", "channel", "snr_db"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_number_is_refused_by_the_name_of_its_field(localize, inputs, name: str, value: float) -> None:
    bad = inputs[name].copy()
    bad.flat[-1] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name}: expected finite numbers"):
        localize(inputs | {name: bad})


@pytest.mark.extended
@pytest.mark.parametrize("name", ["snapshots", "channel", "ris_codes"])
def test_a_dead_scene_holds_no_source_and_leaves_the_others_alone(localize, inputs, found, name: str) -> None:
    dead = inputs[name].copy()
    dead[1] = 0.0
    after = localize(inputs | {name: dead})
    assert after["num_sources"][1] == 0
    for field, value in found.items():
        np.testing.assert_allclose(after[field][[0, 2]], value[[0, 2]], rtol=1e-3, atol=1e-3, err_msg=field)


@pytest.mark.parametrize("name", ["snapshots", "channel"])
def test_a_dead_scene_stays_zero_rather_than_nan(inputs, name: str) -> None:
    """A NaN would be reported as a scene without sources."""
    dead = inputs[name].copy()
    dead[1] = 0.0
    observation = observe(**{field: tf.constant(value) for field, value in (inputs | {name: dead}).items()})
    np.testing.assert_array_equal(getattr(observation, name)[1], 0.0)
    for field, value in observation._asdict().items():
        assert np.all(np.isfinite(value)), field


@pytest.mark.extended
@pytest.mark.parametrize("name", ["snapshots", "channel"])
def test_scenes_of_one_batch_may_differ_in_scale(localize, inputs, found, name: str) -> None:
    """The scales differ so much that their squares exceed float32."""
    scale = np.array([1e-25, 1.0, 1e25])[:, None, None]
    scaled = localize(inputs | {name: (inputs[name] * scale).astype(np.complex64)})
    for field, value in found.items():
        np.testing.assert_allclose(scaled[field], value, rtol=1e-3, atol=1e-3, err_msg=field)


@pytest.mark.extended
def test_sources_do_not_depend_on_the_common_phase_of_the_receiver(localize, inputs, found) -> None:
    turned = localize(inputs | {"snapshots": (inputs["snapshots"] * np.exp(2.0j)).astype(np.complex64)})
    for field, value in found.items():
        np.testing.assert_allclose(turned[field], value, rtol=1e-3, atol=1e-3, err_msg=field)
