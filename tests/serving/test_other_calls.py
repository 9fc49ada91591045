"""Classify, Regress, MultiInference, GetModelMetadata, GetModelStatus: answers and TF Serving's refusals."""

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

from tests.serving.examples import CLASSIFY, REGRESS, M, classification, regression, tasks
from tests.serving.servers import refusal

INVALID, MISSING, PRECONDITION = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
)


# Answers


def test_classify_and_regress(prediction) -> None:
    response = prediction.Classify(classification("classify", 2.0, -4.0))
    found = [[(entry.label, entry.score) for entry in c.classes] for c in response.result.classifications]
    assert found == [[("low", -2.0), ("high", 3.0)], [("low", 1.0), ("high", 0.0)]]
    assert (response.model_spec.version.value, response.model_spec.signature_name) == (2, "classify")
    only_scores = prediction.Classify(classification("scores", 2.0)).result.classifications
    assert [(entry.label, entry.score) for entry in only_scores[0].classes] == [("", 3.0)]
    response = prediction.Regress(regression("regress", 2.0, -4.0))
    assert [entry.value for entry in response.result.regressions] == [3.0, 0.0]


def test_a_context_is_shared_by_the_examples(prediction) -> None:
    request = regression("regress")
    listed = request.input.example_list_with_context
    listed.context.features.feature["x"].float_list.value.append(6.0)
    listed.examples.add()
    listed.examples.add().features.feature["other"].int64_list.value.append(1)
    assert [entry.value for entry in prediction.Regress(request).result.regressions] == [5.0, 5.0]


def test_multi_inference_answers_every_task(prediction) -> None:
    response = prediction.MultiInference(tasks(("regress", REGRESS), ("classify", CLASSIFY)))
    regressed, classified = response.results
    assert regressed.regression_result.regressions[0].value == 3.0
    assert classified.classification_result.classifications[0].classes[1].score == 3.0
    assert (classified.model_spec.version.value, classified.model_spec.signature_name) == (2, "classify")


def test_metadata_holds_every_signature(prediction) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = M
    response = prediction.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "classify", "regress", "add"} <= set(signatures.signature_def)
    assert signatures.signature_def["add"].inputs["a"].dtype == types_pb2.DT_FLOAT
    assert (response.model_spec.name, response.model_spec.version.value) == (M, 2)


def test_every_call_needs_a_model_spec(prediction, status) -> None:
    for call, request in (
        (prediction.Classify, classification_pb2.ClassificationRequest()),
        (prediction.Regress, regression_pb2.RegressionRequest()),
        (prediction.GetModelMetadata, get_model_metadata_pb2.GetModelMetadataRequest()),
        (status, get_model_status_pb2.GetModelStatusRequest()),
    ):
        assert refusal(call, request) == (INVALID, "Missing ModelSpec")
    expected = (INVALID, "ModelSpec has no name specified.")
    assert refusal(prediction.MultiInference, inference_pb2.MultiInferenceRequest()) == expected


# Refusals: Classify, Regress, MultiInference, GetModelMetadata, GetModelStatus


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        ("none", "No signature was found with the name: none"),
        ("", "No classification inputs found in SignatureDef"),
        ("add", "Expected one input Tensor."),
        ("regress", 'Expected classification signature outputs to contain at least one of "classes" or "scores"'),
    ],
)
def test_signatures_that_classify_refuses(prediction, signature: str, text: str) -> None:
    code, found = refusal(prediction.Classify, classification(signature, 2.0))
    assert (code, found[: len(text)]) == (INVALID, text)


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        ("none", "No signature was found with the name: none"),
        ("", "No regression inputs found in SignatureDef"),
        ("add", "Expected one input Tensor."),
        ("classify", "Expected one output Tensor."),
        ("scores", "No regression outputs found in SignatureDef"),
    ],
)
def test_signatures_that_regress_refuses(prediction, signature: str, text: str) -> None:
    code, found = refusal(prediction.Regress, regression(signature, 2.0))
    assert (code, found[: len(text)]) == (INVALID, text)


def test_examples_are_needed_and_must_fit(prediction) -> None:
    assert refusal(prediction.Regress, regression("regress")) == (INVALID, "Input is empty.")
    request = regression("regress")
    request.input.example_list.examples.add().features.feature["other"].int64_list.value.append(1)
    code, text = refusal(prediction.Regress, request)
    assert (code, "Feature: x" in text) == (INVALID, True)


@pytest.mark.parametrize(
    ("request_message", "code", "text"),
    [
        (tasks(("regress", REGRESS), ("regress", REGRESS)), INVALID, "Duplicate evaluation of signature: regress"),
        (tasks(("none", REGRESS)), INVALID, "Requested signature not found in model graph: none"),
        (tasks(("regress", "predict")), grpc.StatusCode.UNIMPLEMENTED,
         "Unsupported signature method_name: predict"),
        (inference_pb2.MultiInferenceRequest(tasks=[*tasks(("regress", REGRESS)).tasks,
                                                    *tasks(("regress", REGRESS), name="other").tasks]), INVALID,
         "All ModelSpecs in a MultiInferenceRequest must access the same model name."),
    ],
)  # fmt: skip
def test_tasks_that_multi_inference_refuses(prediction, request_message, code, text: str) -> None:
    assert refusal(prediction.MultiInference, request_message) == (code, text)


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
    (only,) = status(request, 30).model_version_status
    assert (only.version, only.state, only.status.error_code) == (2, only.AVAILABLE, 0)
    request.model_spec.version.value = 3
    assert refusal(status, request) == (MISSING, f"Could not find version 3 of model {M}")
    request.model_spec.name = "other"
    assert refusal(status, request) == (MISSING, "Could not find version 3 of model other")
    request.model_spec.ClearField("version")
    assert refusal(status, request) == (MISSING, "Could not find any versions of model other")
