"""Requests of tests to model servers."""

import contextlib
from collections.abc import Callable

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

PATIENCE_S = 600.0
"""Timeout of an answer, seconds, long enough for a busy machine; nothing is measured by it."""


def predict_request(
    model: str | None, signature: str = "", /, version: int | None = None, label: str = "", **inputs: object
) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    if model is not None:
        request.model_spec.name = model
        request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return request


def refusal(call: Callable, request: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call(request, timeout=PATIENCE_S)
    return error.value.code(), error.value.details()


@contextlib.contextmanager
def stubs(target: str, credentials: grpc.ChannelCredentials | None = None):
    """PredictionService and ModelService on one channel."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    if credentials is None:
        channel = grpc.insecure_channel(target, options=options)
    else:
        channel = grpc.secure_channel(target, credentials, options=options)
    with channel:
        yield (
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
        )


def answer_of(target: str, request: predict_pb2.PredictRequest) -> tuple[int, np.ndarray]:
    """Returns the version that answered and its `y`."""
    with stubs(target) as (prediction, _):
        response = prediction.Predict(request, timeout=PATIENCE_S)
    return response.model_spec.version.value, tf.make_ndarray(response.outputs["y"])


def states(target: str, model: str) -> dict[int, tuple[str, int, str]]:
    """Returns state, error code and error message by version."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = model
    with stubs(target) as (_, service):
        response = service.GetModelStatus(request, timeout=PATIENCE_S)
    name = get_model_status_pb2.ModelVersionStatus.State.Name
    return {
        status.version: (name(status.state), status.status.error_code, status.status.error_message)
        for status in response.model_version_status
    }


def serving(target: str, model: str) -> set[int]:
    return {version for version, (state, _, _) in states(target, model).items() if state == "AVAILABLE"}
