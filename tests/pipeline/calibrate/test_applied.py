"""A calibration inside an exported model and in evaluation equals one that is applied by hand."""

import numpy as np
import pytest
import tensorflow as tf

from models.localizer import Localizer
from models.physics.geometry import RISArray
from pipeline.calibrate.files import provenance
from pipeline.export.calibrated import calibrated, uncalibrated
from pipeline.export.exporting import export_localizer
from pipeline.metrics.estimators import calibrated_estimator, localizer_estimator
from serving.client.calibration import Calibration
from tests.conftest import MODEL_NAME
from tests.simulated import batch_of, inputs_of, loud

ANTENNAS, ELEMENTS = 16, 144


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    """Scenes of one channel."""
    batch = inputs_of(batch_of(3, loud(2, 20.0)))
    return batch | {"channel": np.broadcast_to(batch["channel"][:1], batch["channel"].shape).copy()}


@pytest.fixture(scope="module")
def calibration(inputs) -> Calibration:
    rng = np.random.default_rng(0)
    channel = inputs["channel"][0]
    correction = 0.1 * np.std(channel) * rng.standard_normal((ANTENNAS, ELEMENTS)).astype(np.complex64)
    response = np.exp(0.4j * rng.standard_normal(ELEMENTS)).astype(np.complex64)
    return Calibration(response, channel, correction, provenance(RISArray(), (), 1, None))


def test_in_the_graph_as_in_numpy(inputs, calibration: Calibration) -> None:
    expected = calibration.apply(inputs)
    codes, channel = tf.function(calibrated(calibration))(inputs["ris_codes"], 3.0 * inputs["channel"])
    np.testing.assert_allclose(codes, expected["ris_codes"], rtol=1e-5)
    np.testing.assert_allclose(channel, 3.0 * expected["channel"], rtol=1e-4, atol=1e-6)
    unchanged = uncalibrated(inputs["ris_codes"], inputs["channel"])
    assert unchanged[0] is inputs["ris_codes"] and unchanged[1] is inputs["channel"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="channel: expected the one that the model's calibration"):
        calibrated(calibration)(inputs["ris_codes"], inputs["channel"] + calibration.channel_correction)


@pytest.mark.extended
def test_an_exported_model_has_it_inside(inputs, calibration: Calibration, tiny_localizer: Localizer, tmp_path) -> None:
    """In all signatures; and the model accepts its own warm-up requests."""
    version = export_localizer(tiny_localizer, tmp_path / MODEL_NAME, (1,), calibration)
    model = tf.saved_model.load(str(version))
    tensors = {name: tf.constant(value) for name, value in inputs.items()}
    expected = localizer_estimator(tiny_localizer)(calibration.apply(inputs))
    found = model.signatures["serving_default"](**tensors)
    real = {
        name: tf.stack([tf.math.real(value), tf.math.imag(value)], -1) if value.dtype.is_complex else value
        for name, value in tensors.items()
    }
    for answer in (found, model.signatures["localize_real"](**real)):
        np.testing.assert_array_equal(answer["num_sources"], expected["num_sources"])
        np.testing.assert_allclose(answer["azimuth_deg"], expected["azimuth_deg"], atol=1e-2)
    surface = model.signatures["surface"](snr_db=tensors["snr_db"])
    assert surface["calibrated"].numpy().tolist() == [True] * 3
    assert bytes(surface["surface_sha256"].numpy()[2]).hex() == calibration.about["surface_fingerprint"]
    without = localizer_estimator(tiny_localizer)(inputs)
    assert not np.allclose(found["score"], without["score"], equal_nan=True)
    assert (version / "assets.extra" / "tf_serving_warmup_requests").is_file()


def test_an_estimator_gets_calibrated_inputs(inputs, calibration: Calibration) -> None:
    seen = calibrated_estimator(lambda scenes: scenes, calibration)(inputs | {"azimuth": np.zeros(3)})
    np.testing.assert_allclose(seen["ris_codes"], inputs["ris_codes"] * calibration.element_response)
    assert "azimuth" in seen


def test_one_of_another_surface_is_refused(calibration: Calibration, tiny_localizer: Localizer, tmp_path) -> None:
    wide = provenance(RISArray(wavelength_m=0.4), (), 1, None)
    other = Calibration(calibration.element_response, None, None, wide)
    with pytest.raises(
        ValueError, match=r"--calibration: expected one of the installation's surface, wavelength_m = 0\.3"
    ):
        export_localizer(tiny_localizer, tmp_path / MODEL_NAME, (), other)
    assert not (tmp_path / MODEL_NAME).exists()
