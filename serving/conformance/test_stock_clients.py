"""Clients written like TF Serving's examples resnet_client_grpc.py and resnet_client.py, with no code of ours."""

import json
import urllib.request

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def grpc_example(
    server: str, model_name: str, data: dict[str, np.ndarray], deadline_s: float
) -> predict_pb2.PredictResponse:
    channel = grpc.insecure_channel(server)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    # Send request
    # See prediction_service.proto for gRPC request/response details.
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = "serving_default"
    for name, value in data.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return stub.Predict(request, deadline_s)


def rest_example(server_url: str, data: dict[str, np.ndarray]) -> list[dict]:
    instance = {name: value[0].tolist() for name, value in data.items()}
    predict_request = json.dumps({"signature_name": "localize_real", "instances": [instance]})
    with urllib.request.urlopen(server_url, data=predict_request.encode()) as response:
        return json.load(response)["predictions"]


def test_the_grpc_example(target: str, model_name: str, inputs, located, deadline_s: float) -> None:
    one = {name: value[:1] for name, value in inputs.items()}
    result = grpc_example(target, model_name, one, deadline_s)
    assert list(result.outputs["num_sources"].int_val) == [located["num_sources"][0]]
    # As the example does, from the typed field and not through make_ndarray.
    azimuth_deg = np.array(result.outputs["azimuth_deg"].float_val)
    np.testing.assert_allclose(azimuth_deg, located["azimuth_deg"][0], atol=2e-2)


def test_the_rest_example(rest, model_name: str, real_inputs, located) -> None:
    one = {name: value[:1] for name, value in real_inputs.items()}
    (prediction,) = rest_example(f"http://{rest.target}/v1/models/{model_name}:predict", one)
    assert prediction["num_sources"] == located["num_sources"][0]
    np.testing.assert_allclose(np.array(prediction["azimuth_deg"]), located["azimuth_deg"][0], atol=2e-2)
