"""Model servers in processes of their own, and what tests ask them."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

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

START_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


class Running:
    """A server: its process, port, and everything it has printed on stdout so far."""

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self.process, self.log = process, log
        self.lines: list[str] = []
        self._ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        wait_for(lambda: bool(self.lines) or self._ended.is_set(), START_S)
        assert self.lines, self.log.read_text()
        self.port = int(self.lines[0].split()[-1])
        self.target = f"localhost:{self.port}"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())
        self._ended.set()


@contextlib.contextmanager
def server(log_dir: Path, *flags: str) -> Iterator[Running]:
    """`python -m serving.model_server --port=0` with flags; its log goes to a file in `log_dir`."""
    log = log_dir / f"server-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "serving.model_server", "--port=0", *flags]
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=os.environ)
        try:
            yield Running(process, log)
        finally:
            process.terminate()
            try:
                process.wait(START_S)
            finally:
                process.kill()
                process.wait()


def wait_for(condition: Callable[[], bool], deadline_s: float = 30.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.03)


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
        call(request, timeout=30)
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
    """Version that answered and its `y`."""
    with stubs(target) as (prediction, _):
        response = prediction.Predict(request, timeout=30)
    return response.model_spec.version.value, tf.make_ndarray(response.outputs["y"])


def states(target: str, model: str) -> dict[int, tuple[str, int, str]]:
    """State, error code and error message by version."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = model
    with stubs(target) as (_, service):
        response = service.GetModelStatus(request, timeout=30)
    name = get_model_status_pb2.ModelVersionStatus.State.Name
    return {
        status.version: (name(status.state), status.status.error_code, status.status.error_message)
        for status in response.model_version_status
    }


def serving(target: str, model: str) -> set[int]:
    return {version for version, (state, _, _) in states(target, model).items() if state == "AVAILABLE"}
