"""Predict over a real channel: answers, and codes and messages equal to TF Serving's."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    predict_pb2,
)

from tests.serving.in_process import InProcessServer
from tests.serving.models import M
from tests.serving.servers import predict_request, refusal

INVALID, MISSING, PRECONDITION = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
)


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


# Refusals: the model_spec


@pytest.mark.parametrize(
    ("request_message", "code", "text"),
    [
        (predict_request(None), INVALID, "Missing ModelSpec"),
        (predict_request("", "serving_default"), INVALID, "ModelSpec has no name specified."),
        (predict_request("other"), MISSING, "Servable not found for request: Latest(other)"),
        (predict_request(M, version=7), MISSING, f"Servable not found for request: Specific({M}, 7)"),
        (predict_request(M, label="canary"), INVALID, "Unrecognized servable version label: canary"),
        (predict_request(M, "none"), PRECONDITION, 'Serving signature key "none" not found.'),
    ],
)
def test_model_specs_that_predict_refuses(prediction, request_message, code, text) -> None:
    assert refusal(prediction.Predict, request_message) == (code, text)


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


def test_bytes_that_are_no_request_are_answered(shared_server: InProcessServer) -> None:
    with grpc.insecure_channel(shared_server.target) as channel:
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
