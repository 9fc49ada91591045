"""PredictionService and GetModelStatus: answers, and codes and messages equal to TF Serving's, over a real channel."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server_process import ServerProcess, server_process
from tests.serving.servers import predict_request, refusal, stubs

M = "half_plus"
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
INVALID, MISSING, PRECONDITION = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
)


@pytest.fixture(scope="module")
def running(half_plus: Path) -> Iterator[ServerProcess]:
    with server_process(f"--model_name={M}", f"--model_base_path={half_plus}") as running:
        yield running


@pytest.fixture(scope="module")
def prediction(running: ServerProcess):
    with stubs(running.target) as (prediction, _):
        yield prediction


@pytest.fixture(scope="module")
def status(running: ServerProcess):
    with stubs(running.target) as (_, service):
        yield lambda request, timeout: service.GetModelStatus(request, timeout=timeout)


def with_examples(request, *values: float):
    for value in values:
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return request


def classification(signature: str, *values: float) -> classification_pb2.ClassificationRequest:
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = M, signature
    return with_examples(request, *values)


def regression(signature: str, *values: float) -> regression_pb2.RegressionRequest:
    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = M, signature
    return with_examples(request, *values)


def tasks(*pairs: tuple[str, str], name: str = M) -> inference_pb2.MultiInferenceRequest:
    request = inference_pb2.MultiInferenceRequest()
    for signature, method in pairs:
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = name, signature
    return with_examples(request, 2.0)


# Answers


def test_predict_answers_with_the_resolved_spec_in_the_typed_field(prediction) -> None:
    response = prediction.Predict(predict_request(M, x=np.float32([2.0, 4.0])))
    assert list(response.outputs["y"].float_val) == [3.0, 4.0]  # where TF Serving's own clients look
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == (M, 2, "serving_default")


def test_shapes_other_than_the_signatures_run_as_they_do_on_tf_serving(prediction) -> None:
    response = prediction.Predict(predict_request(M, x=np.float32([[2.0], [4.0]])))
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["y"]), [[3.0], [4.0]])


def test_output_filter_keeps_what_it_names(prediction) -> None:
    request = predict_request(M, "add", a=np.float32([1, 2]), b=np.float32([3, 4]))
    request.output_filter.append("difference")
    response = prediction.Predict(request)
    assert {name: tf.make_ndarray(value).tolist() for name, value in response.outputs.items()} == {
        "difference": [-2.0, -2.0]
    }


@pytest.mark.parametrize(
    ("signature", "inputs"),
    [
        ("conjugate", {"z": np.complex64([1 + 2j, 3 - 1j])}),
        ("echo", {"text_bytes": [b"\xff\x00", b""], "count": np.int64([2**40, -1]), "flag": [True, False],
                  "real": np.float64([0.1, np.inf])}),
    ],
)  # fmt: skip
def test_every_dtype_goes_in_and_comes_out(prediction, signature: str, inputs: dict) -> None:
    response = prediction.Predict(predict_request(M, signature, **inputs))
    found = {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
    for name, value in inputs.items():
        expected = np.conj(value) if signature == "conjugate" else np.asarray(value, found[name].dtype)
        np.testing.assert_array_equal(found[name], expected)


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


# Refusals: the model_spec


@pytest.mark.parametrize(
    ("request_message", "code", "text"),
    [
        (predict_request(None), INVALID, "Missing ModelSpec"),
        (predict_request("", "serving_default"), INVALID, "ModelSpec has no name specified."),
        (predict_request("other"), MISSING, "Servable not found for request: Latest(other)"),
        (predict_request(M, version=7), MISSING, f"Servable not found for request: Specific({M}, 7)"),
        (predict_request(M, version=1), MISSING, f"Servable not found for request: Specific({M}, 1)"),
        (predict_request(M, label="canary"), INVALID, "Unrecognized servable version label: canary"),
        (predict_request(M, "none"), PRECONDITION, 'Serving signature key "none" not found.'),
    ],
)
def test_model_specs_that_predict_refuses(prediction, request_message, code, text) -> None:
    assert refusal(prediction.Predict, request_message) == (code, text)


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


# Refusals: Predict


A, B = np.float32([1.0]), np.float32([2.0])


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"a": A}, "input size does not match signature: 1!=2 len({a}) != len({a,b}). "
                   "Sent extra: {}. Missing but required: {b}."),
        ({"a": A, "b": B, "c": B}, "input size does not match signature: 3!=2 len({a,b,c}) != len({a,b}). "
                                   "Sent extra: {c}. Missing but required: {}."),
        ({"a": A, "b": np.float64([1.0])}, "Expects arg[1] to be float but double is provided"),
        ({"a": np.int32([1]), "b": B}, "Expects arg[0] to be float but int32 is provided"),
        ({"a": [b"text"], "b": B}, "Expects arg[0] to be float but string is provided"),
        ({"a": np.complex64([1]), "b": B}, "Expects arg[0] to be float but complex64 is provided"),
    ],
)  # fmt: skip
def test_inputs_that_predict_refuses(prediction, inputs: dict, text: str) -> None:
    assert refusal(prediction.Predict, predict_request(M, "add", **inputs)) == (INVALID, text)


def test_the_right_count_with_a_wrong_name(prediction) -> None:
    code, text = refusal(prediction.Predict, predict_request(M, "add", a=A, wrong=B))
    assert code == INVALID
    assert text.startswith("Signature input alias: b(feed name: add_b:0) not found in request")


@pytest.mark.parametrize(
    "proto",
    [
        tensor_pb2.TensorProto(),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_RESOURCE),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"123"),
        tensor_pb2.TensorProto(
            dtype=types_pb2.DT_FLOAT, tensor_content=b"12345678", tensor_shape={"dim": [{"size": 3}]}
        ),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0], tensor_shape={"dim": [{"size": -1}]}),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0], tensor_shape={"unknown_rank": True}),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape={"dim": [{"size": 2**40}]}),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0], tensor_shape={"dim": [{"size": 2**62}] * 3}),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape={"dim": [{"size": 0}, {"size": 2**62}]}),
    ],
)
def test_protos_that_are_no_tensors(prediction, proto: tensor_pb2.TensorProto) -> None:
    request = predict_request(M)
    request.inputs["x"].CopyFrom(proto)
    assert refusal(prediction.Predict, request) == (INVALID, "tensor parsing error: x")


@pytest.mark.parametrize(
    ("values", "size", "expected"), [([2.0, 4.0], 4, [3.0, 4.0, 4.0, 4.0]), ([], 2, [2.0, 2.0]), ([2.0, 4.0], 1, [3.0])]
)
def test_fewer_values_than_elements_are_filled_as_tensorflow_does(prediction, values, size: int, expected) -> None:
    request = predict_request(M)
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=values, tensor_shape={"dim": [{"size": size}]})
    request.inputs["x"].CopyFrom(proto)
    assert list(prediction.Predict(request).outputs["y"].float_val) == expected


@pytest.mark.parametrize(
    ("output_filter", "text"),
    [
        (["none"], "output tensor alias not found in signature: none "
                   "Outputs expected to be in the set {difference,sum}."),
        (["sum", "sum"], "duplicate output tensor alias: sum"),
    ],
)  # fmt: skip
def test_output_filters_that_predict_refuses(prediction, output_filter: list[str], text: str) -> None:
    request = predict_request(M, "add", a=A, b=np.float64([1.0]))  # the filter is looked at before the dtype
    request.output_filter.extend(output_filter)
    assert refusal(prediction.Predict, request) == (INVALID, text)


def test_what_the_model_itself_refuses_comes_with_its_words(prediction) -> None:
    code, text = refusal(prediction.Predict, predict_request(M, "add", a=np.float32([np.nan]), b=B))
    assert code == INVALID
    assert text.startswith("a: expected finite numbers : Tensor had NaN values")
    code, text = refusal(prediction.Predict, predict_request(M, "add", a=np.float32([1, 2]), b=np.float32([1, 2, 3])))
    assert (code, "Incompatible shapes: [2] vs. [3]" in text) == (INVALID, True)


def test_long_messages_are_truncated(prediction) -> None:
    code, text = refusal(prediction.Predict, predict_request(M, "n" * 3000))
    assert code == PRECONDITION
    assert text == f'Serving signature key "{"n" * (1024 - 23)}' + "...TRUNCATED"


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


def test_bytes_that_are_no_request_are_answered(running: ServerProcess) -> None:
    with grpc.insecure_channel(running.target) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        for garbage in (b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f"):
            assert refusal(call, garbage)[0] == grpc.StatusCode.INTERNAL
        assert refusal(channel.unary_unary("/tensorflow.serving.PredictionService/None"), b"")[0] == (
            grpc.StatusCode.UNIMPLEMENTED
        )


def test_messages_beyond_grpcs_usual_4_mib_pass(prediction) -> None:
    values = np.zeros(2_000_000, np.float32)
    response = prediction.Predict(predict_request(M, x=values))
    assert len(response.outputs["y"].float_val) == len(values)
    assert isinstance(response, predict_pb2.PredictResponse)
