"""The exported localizer: in process, reloaded, and served by another process."""

import json
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from models.localizer import Localizer
from serving.client import LocalizerClient
from tests.conftest import MODEL_NAME as NAME
from tests.conftest import Served
from tests.serving.servers import PATIENCE_S, refusal
from tfds_shards.inputs import INPUTS, scene_batch
from tfds_shards.simulator import CONFIGS, simulate_scene


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    config = CONFIGS["l64_m64"]
    batch = scene_batch([simulate_scene(config, "test", number) for number in range(3)], config.phase_bits)
    return {name: batch[name] for name in INPUTS}


@pytest.fixture(scope="module")
def version(tiny_model: Path) -> Path:
    (only,) = tiny_model.iterdir()
    return only


@pytest.fixture(scope="module")
def target(tiny_server: Served) -> str:
    return tiny_server.target


@pytest.fixture(scope="module")
def stub(target: str):
    with grpc.insecure_channel(target) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request_for(inputs: dict[str, np.ndarray], name: str = NAME) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return request


@pytest.mark.promise("model server")
def test_in_process_reloaded_and_served_agree(tiny_localizer: Localizer, inputs, version: Path, target: str) -> None:
    tensors = {name: tf.constant(value) for name, value in inputs.items()}
    local = {name: value.numpy() for name, value in tiny_localizer.graph(**tensors).items()}
    model = tf.saved_model.load(str(version))
    reloaded = model.signatures["serving_default"](**tensors)
    with LocalizerClient(target, NAME, timeout_s=PATIENCE_S) as client:
        served = client.predict(inputs).outputs
    assert local["num_sources"].sum() > 0
    for name, value in local.items():
        np.testing.assert_allclose(reloaded[name], value, rtol=1e-4, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(served[name], value, rtol=1e-4, atol=1e-4, err_msg=name)


def test_localize_real_is_the_same(inputs, stub) -> None:
    parts = {
        name: np.stack([value.real, value.imag], -1) if np.iscomplexobj(value) else value
        for name, value in inputs.items()
    }
    request = request_for(parts)
    request.model_spec.signature_name = "localize_real"
    real = tf.make_ndarray(stub.Predict(request).outputs["position_m"])
    default = tf.make_ndarray(stub.Predict(request_for(inputs)).outputs["position_m"])
    np.testing.assert_allclose(real, default, atol=1e-5)


def test_wrong_inputs_are_named(inputs, stub) -> None:
    code, text = refusal(stub.Predict, request_for({"snr_db": inputs["snr_db"]}))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith("input size does not match signature: 1!=4")
    assert "Missing but required: {channel,ris_codes,snapshots}" in text
    wrong = {**inputs, "snr_db": inputs["snr_db"].astype(np.float64)}
    assert "to be float but double is provided" in refusal(stub.Predict, request_for(wrong))[1]
    wrong = {**inputs, "snr_db": np.full(3, np.nan, np.float32)}
    code, text = refusal(stub.Predict, request_for(wrong))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "snr_db: expected finite numbers" in text


def test_metadata_gives_the_shapes(target: str) -> None:
    with LocalizerClient(target, NAME, timeout_s=PATIENCE_S) as client:
        assert client.input_shapes()["snapshots"] == [-1, -1, 16]


# A client as TF Serving's examples write it


def test_a_stock_client_over_grpc_and_rest(inputs, tiny_server: Served) -> None:
    """After tensorflow_serving/example: a future with a deadline, an output's float_val; `requests` on the row form."""
    parts = {
        name: np.stack([value.real, value.imag], -1) if np.iscomplexobj(value) else value
        for name, value in inputs.items()
    }
    channel = grpc.insecure_channel(tiny_server.target)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = NAME
    request.model_spec.signature_name = "localize_real"
    for name, value in parts.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value, shape=value.shape))
    result = stub.Predict.future(request, PATIENCE_S).result()
    over_grpc = np.array(result.outputs["position_m"].float_val).reshape(len(inputs["snr_db"]), -1, 3)
    instances = [{name: value[scene].tolist() for name, value in parts.items()} for scene in range(3)]
    body = json.dumps({"signature_name": "localize_real", "instances": instances})
    url = f"http://localhost:{tiny_server.rest_port}/v1/models/{NAME}:predict"
    response = requests.post(url, data=body, timeout=PATIENCE_S)
    response.raise_for_status()
    over_rest = np.array([prediction["position_m"] for prediction in response.json()["predictions"]])
    assert np.isfinite(over_grpc[:, 0]).all()
    np.testing.assert_allclose(over_rest, over_grpc, rtol=1e-4, atol=1e-4)
