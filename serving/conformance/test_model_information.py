"""GetModelMetadata and GetModelStatus."""

import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from serving.conformance.conftest import INVALID, MISSING, SOURCES


def described(infos) -> dict[str, tuple[tf.DType, list[int]]]:
    return {
        name: (tf.as_dtype(info.dtype), [dim.size for dim in info.tensor_shape.dim]) for name, info in infos.items()
    }


def metadata_request(name: str, *fields: str) -> get_model_metadata_pb2.GetModelMetadataRequest:
    return get_model_metadata_pb2.GetModelMetadataRequest(model_spec={"name": name}, metadata_field=fields)


def status_request(name: str, version: int | None = None) -> get_model_status_pb2.GetModelStatusRequest:
    spec = {"name": name} if version is None else {"name": name, "version": {"value": version}}
    return get_model_status_pb2.GetModelStatusRequest(model_spec=spec)


def test_signatures_are_the_localizers(signatures, inputs) -> None:
    antennas, elements = inputs["channel"].shape[1:]
    expected = {
        "snapshots": (tf.complex64, [-1, -1, antennas]),
        "ris_codes": (tf.complex64, [-1, -1, elements]),
        "channel": (tf.complex64, [-1, antennas, elements]),
        "snr_db": (tf.float32, [-1]),
    }
    real = {
        name: (tf.float32, [*shape, 2]) if dtype.is_complex else (dtype, shape)
        for name, (dtype, shape) in expected.items()
    }
    sources = {name: (tf.as_dtype(dtype), [-1, *shape]) for name, (dtype, shape) in SOURCES.items()}
    for name in ("serving_default", "covariance", "spectrum"):
        assert described(signatures[name].inputs) == expected
    assert described(signatures["localize_real"].inputs) == real
    for name in ("serving_default", "localize_real"):
        assert described(signatures[name].outputs) == sources
    assert described(signatures["covariance"].outputs) == {"covariance": (tf.complex64, [-1, elements, elements])}
    assert set(signatures["spectrum"].outputs) == {"spectrum", "azimuth_deg", "elevation_deg", "range_m"}
    for name in ("serving_default", "localize_real", "covariance", "spectrum"):
        assert signatures[name].method_name == "tensorflow/serving/predict"


def test_metadata_says_which_version_it_is_of(prediction, model_name: str, deadline_s: float, version: int) -> None:
    response = prediction.GetModelMetadata(metadata_request(model_name, "signature_def"), timeout=deadline_s)
    assert (response.model_spec.name, response.model_spec.version.value) == (model_name, version)
    assert list(response.metadata) == ["signature_def"]


def test_metadata_that_is_not_there(prediction, refusal, model_name: str) -> None:
    call = prediction.GetModelMetadata
    assert refusal(call, get_model_metadata_pb2.GetModelMetadataRequest()) == (INVALID, "Missing ModelSpec")
    expected = "GetModelMetadataRequest must specify at least one metadata_field"
    assert refusal(call, metadata_request(model_name)) == (INVALID, expected)
    answer = refusal(call, metadata_request(model_name, "assets"))
    assert answer == (INVALID, "Metadata field assets is not supported")
    answer = refusal(call, metadata_request("no_such_model", "signature_def"))
    assert answer == (MISSING, "Servable not found for request: Latest(no_such_model)")


@pytest.mark.parametrize("by_version", [False, True])
def test_status_of_what_serves(
    model_service, model_name: str, deadline_s: float, version: int, by_version: bool
) -> None:
    request = status_request(model_name, version if by_version else None)
    statuses = model_service.GetModelStatus(request, timeout=deadline_s).model_version_status
    assert [status.version for status in statuses] == sorted((status.version for status in statuses), reverse=True)
    (serving,) = (status for status in statuses if status.version == version)
    assert serving.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert (serving.status.error_code, serving.status.error_message) == (0, "")
    if by_version:
        assert len(statuses) == 1


def test_status_of_what_is_not_there(model_service, refusal, model_name: str) -> None:
    call = model_service.GetModelStatus
    assert refusal(call, get_model_status_pb2.GetModelStatusRequest()) == (INVALID, "Missing ModelSpec")
    answer = refusal(call, status_request("no_such_model"))
    assert answer == (MISSING, "Could not find any versions of model no_such_model")
    answer = refusal(call, status_request(model_name, 7))
    assert answer == (MISSING, f"Could not find version 7 of model {model_name}")
