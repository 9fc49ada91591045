"""Predict on the localizer's signatures: names, shapes, dtypes, and changes that must not affect the answer."""

import concurrent.futures

import numpy as np
import pytest
import tensorflow as tf

from serving.conformance.conftest import SOURCES, predict_request


def assert_same_sources(found: dict, expected: dict, tolerance: float = 2e-3) -> None:
    """Asserts equal sources up to rounding: sums may be computed in another order."""
    np.testing.assert_array_equal(found["num_sources"], expected["num_sources"])
    for name in ("azimuth_deg", "elevation_deg", "power_db", "score", "position_m"):
        np.testing.assert_allclose(found[name], expected[name], rtol=10 * tolerance, atol=10 * tolerance, err_msg=name)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("num_snapshots", [64, 40])
def test_batch_and_snapshots_are_free(predict, inputs, batch: int, num_snapshots: int) -> None:
    fewer = {name: value[:batch] for name, value in inputs.items()}
    for name in ("snapshots", "ris_codes"):
        fewer[name] = fewer[name][:, :num_snapshots]
    outputs = predict(fewer)
    described = {name: (value.dtype, value.shape) for name, value in outputs.items()}
    assert described == {name: (np.dtype(dtype), (batch, *shape)) for name, (dtype, shape) in SOURCES.items()}


def test_used_slots_are_finite_by_falling_score_and_unused_ones_nan(located) -> None:
    assert located["num_sources"].sum() > 0
    for scene, count in enumerate(located["num_sources"]):
        assert (located["num_paths"][scene, :count] >= 1).all() and (located["num_paths"][scene, count:] == 0).all()
        for name in SOURCES.keys() - {"num_sources", "num_paths"}:
            assert np.isfinite(located[name][scene, :count]).all()
            assert np.isnan(located[name][scene, count:]).all()
        assert (np.diff(located["score"][scene, :count]) <= 0).all()


def test_position_is_the_angles_and_the_range(located) -> None:
    azimuth, elevation = np.radians(located["azimuth_deg"]), np.radians(located["elevation_deg"])
    direction = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    np.testing.assert_allclose(
        located["position_m"], located["range_m"][..., None] * np.stack(direction, -1), rtol=1e-3, atol=1e-3
    )


def test_localize_real_answers_as_serving_default(predict, real_inputs, located) -> None:
    assert_same_sources(predict(real_inputs, "localize_real"), located)


def test_the_signature_by_its_name_is_the_default(predict, inputs, located) -> None:
    assert_same_sources(predict(inputs, "serving_default"), located)


def test_scale_does_not_matter(predict, inputs, located) -> None:
    louder = {**inputs, "snapshots": 1e5 * inputs["snapshots"], "channel": 40 * inputs["channel"]}
    assert_same_sources(predict({name: value.astype(inputs[name].dtype) for name, value in louder.items()}), located)


def test_scenes_of_a_batch_do_not_mix(predict, inputs, located) -> None:
    for scene in range(len(inputs["snr_db"])):
        alone = predict({name: value[scene : scene + 1] for name, value in inputs.items()})
        assert_same_sources(alone, {name: value[scene : scene + 1] for name, value in located.items()})


def test_answers_of_concurrent_clients_do_not_mix(predict, inputs, located) -> None:
    scenes = 8 * list(range(len(inputs["snr_db"])))
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda scene: predict({k: v[scene : scene + 1] for k, v in inputs.items()}), scenes)
        for scene, answer in zip(scenes, answers, strict=True):
            assert_same_sources(answer, {name: value[scene : scene + 1] for name, value in located.items()})


def test_covariance_is_hermitian_at_trace_n(predict, inputs) -> None:
    covariance = predict(inputs, "covariance")["covariance"]
    batch, elements = len(inputs["snr_db"]), inputs["channel"].shape[-1]
    assert (covariance.dtype, covariance.shape) == (np.complex64, (batch, elements, elements))
    np.testing.assert_allclose(covariance, covariance.conj().swapaxes(1, 2), atol=1e-4)
    np.testing.assert_allclose(np.trace(covariance, axis1=1, axis2=2).real, elements, rtol=1e-3)


def test_spectrum_is_positive_on_its_grid(predict, inputs) -> None:
    outputs = predict(inputs, "spectrum")
    batch = len(inputs["snr_db"])
    axes = [outputs[name] for name in ("azimuth_deg", "elevation_deg", "range_m")]
    assert all(axis.shape[0] == batch for axis in axes)
    assert outputs["spectrum"].shape == (batch, *(axis.shape[1] for axis in axes))
    assert all(value.dtype == np.float32 for value in outputs.values())
    assert (outputs["spectrum"] > 0).all()


def test_the_response_says_what_answered(prediction, model_name: str, deadline_s: float, inputs, version: int) -> None:
    """An empty signature name means `serving_default`; a requested version is the one that answers."""
    request = predict_request(model_name, inputs)
    latest = prediction.Predict(request, timeout=deadline_s).model_spec
    assert (latest.name, latest.version.value, latest.signature_name) == (model_name, version, "serving_default")
    request.model_spec.version.value = version
    request.model_spec.signature_name = "covariance"
    asked = prediction.Predict(request, timeout=deadline_s).model_spec
    assert (asked.name, asked.version.value, asked.signature_name) == (model_name, version, "covariance")


@pytest.mark.parametrize("wanted", [["position_m"], ["score", "num_sources"]])
def test_output_filter_gives_what_it_names(
    prediction, model_name: str, deadline_s: float, inputs, located, wanted: list[str]
) -> None:
    request = predict_request(model_name, inputs)
    request.output_filter.extend(wanted)
    outputs = prediction.Predict(request, timeout=deadline_s).outputs
    assert set(outputs) == set(wanted)
    for name in wanted:
        np.testing.assert_allclose(tf.make_ndarray(outputs[name]), located[name], rtol=2e-2, atol=2e-2)
