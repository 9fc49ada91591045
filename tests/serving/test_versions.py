"""Versions that come and break while requests are running, in a server of its own."""

import os
import shutil
import signal
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

from pipeline.locate import running_server
from serving.model_server import main
from tests.conftest import MODEL_NAME
from tests.simulated import batch_of, inputs_of, loud

AVAILABLE, END = (get_model_status_pb2.ModelVersionStatus.State.Value(name) for name in ("AVAILABLE", "END"))


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `tiny_model` that versions can be added to."""
    return shutil.copytree(tiny_model, tmp_path_factory.mktemp("models") / MODEL_NAME)


@pytest.fixture(scope="module")
def target(folder: Path) -> Iterator[str]:
    with running_server(folder, MODEL_NAME) as address:
        yield address


@pytest.fixture(scope="module")
def request_message() -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    for name, value in inputs_of(batch_of(1, loud(1))).items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def next_version(folder: Path) -> Path:
    return folder / str(1 + max(int(path.name) for path in folder.iterdir() if path.name.isdecimal()))


def states(target: str) -> dict[int, tuple[int, str]]:
    """State and error message of every version the server knows."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = MODEL_NAME
    with grpc.insecure_channel(target) as channel:
        response = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request)
    return {status.version: (status.state, status.status.error_message) for status in response.model_version_status}


def available(target: str) -> int:
    """The one version that serves."""
    (version,) = (version for version, (state, _) in states(target).items() if state == AVAILABLE)
    return version


def wait_for(condition: Callable[[], bool], deadline_s: float = 60.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


class Load:
    """Threads that ask for one scene after the other until told to stop."""

    def __init__(self, target: str, request: predict_pb2.PredictRequest, num_threads: int = 2) -> None:
        self.target, self.request = target, request
        self.answers: list[tuple[int, np.ndarray]] = []
        self.failures: list[grpc.RpcError] = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._ask) for _ in range(num_threads)]

    def _ask(self) -> None:
        with grpc.insecure_channel(self.target) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not self.stopping.is_set():
                try:
                    response = stub.Predict(self.request, timeout=60)
                except grpc.RpcError as error:
                    self.failures.append(error)
                else:
                    position = tf.make_ndarray(response.outputs["position_m"])
                    self.answers.append((response.model_spec.version.value, position))

    def versions(self) -> list[int]:
        return [version for version, _ in self.answers]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def test_a_new_version_takes_over_without_a_failed_request(folder: Path, target: str, request_message) -> None:
    old, new = available(target), next_version(folder)
    with Load(target, request_message) as load:
        wait_for(lambda: len(load.answers) >= 3)
        shutil.copytree(folder / str(old), folder / "being-copied")
        os.rename(folder / "being-copied", new)
        wait_for(lambda: int(new.name) in load.versions())
        wait_for(lambda: states(target)[old] == (END, "") and states(target)[int(new.name)] == (AVAILABLE, ""))
        before = len(load.answers)
        wait_for(lambda: len(load.answers) >= before + 6)
    assert load.failures == []
    assert set(load.versions()) == {old, int(new.name)}
    assert load.versions()[-1] == int(new.name)
    for _, position in load.answers:
        np.testing.assert_allclose(position, load.answers[0][1], atol=1e-3)


def truncate_graph(version: Path) -> None:
    graph = version / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])


def empty(version: Path) -> None:
    shutil.rmtree(version)
    version.mkdir()


@pytest.mark.parametrize("damage", [truncate_graph, empty])
def test_a_broken_version_is_reported_and_the_good_one_goes_on(
    folder: Path, target: str, request_message, damage: Callable[[Path], None]
) -> None:
    good = available(target)
    shutil.copytree(folder / str(good), folder / "being-copied")
    damage(folder / "being-copied")
    broken = next_version(folder)
    os.rename(folder / "being-copied", broken)
    with Load(target, request_message, num_threads=1) as load:
        wait_for(lambda: states(target).get(int(broken.name), (0, ""))[0] == END)
        before = len(load.answers)
        wait_for(lambda: len(load.answers) >= before + 3)
    assert load.failures == []
    assert set(load.versions()) == {good}
    now = states(target)
    assert now[good] == (AVAILABLE, "")
    message = now[int(broken.name)][1]
    assert broken.name in message or "saved_model" in message
    assert "\n" not in message


# Starting


@pytest.fixture
def signals() -> Iterator[None]:
    """Puts back the handlers that a server installs."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_port_that_is_taken_is_named(folder: Path, target: str, signals: None) -> None:
    port = target.rpartition(":")[2]
    with pytest.raises(SystemExit) as stopped:
        main([f"--port={port}", f"--model_base_path={folder}"])
    line = str(stopped.value.code)
    assert line.startswith("serving.model_server: --port: ")
    assert port in line
    assert "\n" not in line


def test_an_absent_folder_and_an_unknown_flag_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([f"--model_base_path={tmp_path / 'none'}"])
    expected = f"--model_base_path: expected a folder of versions, got {tmp_path / 'none'}"
    assert stopped.value.code == f"serving.model_server: {expected}"
    with pytest.raises(SystemExit) as stopped:
        main([f"--model_base_path={tmp_path}", "--model_nane=x"])
    assert stopped.value.code == 2
    assert "unrecognized arguments: --model_nane=x" in capsys.readouterr().err
