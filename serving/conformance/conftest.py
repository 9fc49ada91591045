"""Options and fixtures of the suite: the server under test, and scenes to send."""

from collections.abc import Callable, Iterator, Mapping

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from models.physics.geometry import Scenario
from serving.conformance.rest import Rest
from tfds_shards.inputs import simulated_inputs

_INT32_MAX = 2**31 - 1
_NUM_SCENES = 4

Inputs = Mapping[str, np.ndarray]
INVALID, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
K_MAX = 5
SOURCES = {
    "num_sources": (np.int32, ()),
    **{name: (np.float32, (K_MAX,)) for name in ("azimuth_deg", "elevation_deg", "range_m", "power_db", "score")},
    "position_m": (np.float32, (K_MAX, 3)),
    "position_cov_m2": (np.float32, (K_MAX, 3, 3)),
    "num_paths": (np.int32, (K_MAX,)),
}
"""Outputs of the localizer: dtype and shape for each scene."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance", "the model server under test")
    group.addoption("--target", help="HOST:PORT of its gRPC port; without it, all tests are skipped")
    group.addoption("--rest-target", help="HOST:PORT of its REST port; without it, the REST tests are skipped")
    group.addoption("--model-name", default="ris_localizer", help="name under which it serves the exported localizer")
    group.addoption("--deadline-s", type=float, default=60.0, help="deadline of every request, seconds")


@pytest.fixture(scope="session")
def model_name(request: pytest.FixtureRequest) -> str:
    return request.config.getoption("--model-name")


@pytest.fixture(scope="session")
def deadline_s(request: pytest.FixtureRequest) -> float:
    return request.config.getoption("--deadline-s")


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> str:
    given = request.config.getoption("--target")
    return given or pytest.skip("needs --target HOST:PORT of a model server")


@pytest.fixture(scope="session")
def rest(request: pytest.FixtureRequest, target: str, deadline_s: float) -> Rest:
    given = request.config.getoption("--rest-target")
    return Rest(given, deadline_s) if given else pytest.skip("needs --rest-target HOST:PORT of the server's REST")


@pytest.fixture(scope="session")
def channel(target: str, deadline_s: float) -> Iterator[grpc.Channel]:
    options = [(f"grpc.max_{way}_message_length", _INT32_MAX) for way in ("send", "receive")]
    with grpc.insecure_channel(target, options=options) as made:
        grpc.channel_ready_future(made).result(timeout=deadline_s)
        yield made


@pytest.fixture(scope="session")
def prediction(channel: grpc.Channel) -> prediction_service_pb2_grpc.PredictionServiceStub:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="session")
def model_service(channel: grpc.Channel) -> model_service_pb2_grpc.ModelServiceStub:
    return model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture(scope="session")
def signatures(prediction, model_name: str, deadline_s: float):
    """The model's signatures by name, from GetModelMetadata."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = model_name
    signature_map = get_model_metadata_pb2.SignatureDefMap()
    prediction.GetModelMetadata(request, timeout=deadline_s).metadata["signature_def"].Unpack(signature_map)
    return dict(signature_map.signature_def)


@pytest.fixture(scope="session")
def version(model_service, model_name: str, deadline_s: float) -> int:
    """The highest version that serves."""
    request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": model_name})
    statuses = model_service.GetModelStatus(request, timeout=deadline_s).model_version_status
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    return max(status.version for status in statuses if status.state == available)


@pytest.fixture(scope="session")
def inputs(signatures) -> Inputs:
    """Simulated scenes of the default installation: the inputs of `serving_default`."""
    scenes = simulated_inputs(Scenario(), _NUM_SCENES)
    expected = [dim.size for dim in signatures["serving_default"].inputs["channel"].tensor_shape.dim]
    if expected != [-1, *scenes["channel"].shape[1:]]:
        shape = list(scenes["channel"].shape[1:])
        pytest.exit(f"channel: expected a model for the suite's scenes, {shape}, got one for {expected[1:]}")
    return scenes


@pytest.fixture(scope="session")
def real_inputs(inputs: Inputs) -> Inputs:
    """The same scenes as inputs of `localize_real`."""
    return {
        name: np.stack([value.real, value.imag], axis=-1) if np.iscomplexobj(value) else value
        for name, value in inputs.items()
    }


def predict_request(name: str, inputs: Inputs, signature_name: str = "") -> predict_pb2.PredictRequest:
    """Makes a request for the latest version."""
    tensors = {alias: tf.make_tensor_proto(value) for alias, value in inputs.items()}
    return predict_pb2.PredictRequest(model_spec={"name": name, "signature_name": signature_name}, inputs=tensors)


@pytest.fixture(scope="session")
def predict(prediction, model_name: str, deadline_s: float) -> Callable[..., dict[str, np.ndarray]]:
    """A function `predict(inputs, signature_name="")` that returns outputs by name."""

    def call(inputs: Inputs, signature_name: str = "") -> dict[str, np.ndarray]:
        request = predict_request(model_name, inputs, signature_name)
        outputs = prediction.Predict(request, timeout=deadline_s).outputs
        return {name: tf.make_ndarray(value) for name, value in outputs.items()}

    return call


@pytest.fixture(scope="session")
def located(predict, inputs: Inputs) -> dict[str, np.ndarray]:
    """Outputs of `serving_default` for `inputs`."""
    return predict(inputs)


@pytest.fixture(scope="session")
def refusal(deadline_s: float) -> Callable[..., tuple[grpc.StatusCode, str]]:
    """A function `refusal(call, request)` that returns code and message of a call that must fail."""

    def refused(call: grpc.UnaryUnaryMultiCallable, request) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as error:
            call(request, timeout=deadline_s)
        return error.value.code(), error.value.details()

    return refused
