"""GetModelMetadata, GetModelStatus and unsupported methods: answers and TF Serving's errors."""

import grpc
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    regression_pb2,
)

from serving.server_process import wait_until
from tests.serving.models import M
from tests.serving.servers import PATIENCE_S, refusal

INVALID, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


def test_metadata_holds_every_signature(prediction) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = M
    response = prediction.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "add"} <= set(signatures.signature_def)
    assert signatures.signature_def["add"].inputs["a"].dtype == types_pb2.DT_FLOAT
    assert (response.model_spec.name, response.model_spec.version.value) == (M, 2)


def test_every_call_needs_a_model_spec(prediction, status) -> None:
    for call, request in (
        (prediction.GetModelMetadata, get_model_metadata_pb2.GetModelMetadataRequest()),
        (status, get_model_status_pb2.GetModelStatusRequest()),
    ):
        assert refusal(call, request) == (INVALID, "Missing ModelSpec")


@pytest.mark.parametrize(
    ("method", "request_message"),
    [
        ("Classify", classification_pb2.ClassificationRequest()),
        ("Regress", regression_pb2.RegressionRequest()),
        ("MultiInference", inference_pb2.MultiInferenceRequest()),
    ],
)
def test_what_the_localizer_has_no_use_for_is_unimplemented(prediction, method: str, request_message) -> None:
    assert refusal(getattr(prediction, method), request_message)[0] == grpc.StatusCode.UNIMPLEMENTED


def test_metadata_fields(prediction) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = M
    expected = (INVALID, "GetModelMetadataRequest must specify at least one metadata_field")
    assert refusal(prediction.GetModelMetadata, request) == expected
    request.metadata_field.append("other")
    assert refusal(prediction.GetModelMetadata, request) == (INVALID, "Metadata field other is not supported")


def test_status(status) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = M

    def found() -> list[tuple[int, int, int]]:
        entries = status(request, PATIENCE_S).model_version_status
        return [(entry.version, entry.state, entry.status.error_code) for entry in entries]

    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    wait_until(lambda: found() == [(2, available, 0), (1, available, 0)])  # one may still load
    request.model_spec.version.value = 3
    assert refusal(status, request) == (MISSING, f"Could not find version 3 of model {M}")
    request.model_spec.name = "other"
    assert refusal(status, request) == (MISSING, "Could not find version 3 of model other")
    request.model_spec.ClearField("version")
    assert refusal(status, request) == (MISSING, "Could not find any versions of model other")
