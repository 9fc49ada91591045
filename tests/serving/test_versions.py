"""Versions that are added, broken and removed while requests run, on a separate server."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc

from serving.server.calls import ServingError
from serving.server.config import single_model
from serving.server.manager import ModelManager
from serving.server.servable import Servable
from serving.server.versions import ManagerConfig, State
from serving.server_process import wait_until
from tests.serving.blocking import NAME, BlockingModel, stack
from tests.serving.in_process import InProcessServer, in_process_server
from tests.serving.models import copy_version, write_version
from tests.serving.servers import PATIENCE_S, answer_of, predict_request, refusal, serving, states, stubs

M = "half_plus"


@pytest.fixture(scope="module")
def base_path(half_plus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with version 1, to which tests add higher versions."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(half_plus / "1", folder / "1")
    return folder


@pytest.fixture(scope="module")
def running(base_path: Path) -> Iterator[InProcessServer]:
    with in_process_server(
        f"--model_name={M}",
        f"--model_base_path={base_path}",
        "--file_system_poll_wait_seconds=0.1",
        "--max_num_load_retries=1",
        "--load_retry_interval_micros=10000",
    ) as running:
        yield running


def latest(running: InProcessServer) -> int:
    """Returns the only version that serves."""
    (version,) = serving(running.target, M)
    return version


def next_version(base_path: Path) -> int:
    return 1 + max(int(path.name) for path in base_path.iterdir() if path.name.isdecimal())


def state(running: InProcessServer, version: int) -> str:
    return states(running.target, M).get(version, ("",))[0]


class Load:
    """Threads that send requests until the end of the block."""

    def __init__(self, target: str, request: predict_pb2.PredictRequest, num_threads: int = 4) -> None:
        self.target, self.request = target, request
        self.answers: list[tuple[int, list[float]]] = []
        self.failures: list[grpc.RpcError] = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._ask) for _ in range(num_threads)]

    def _ask(self) -> None:
        with grpc.insecure_channel(self.target) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not self.stopping.is_set():
                try:
                    response = stub.Predict(self.request, timeout=PATIENCE_S)
                except grpc.RpcError as error:
                    self.failures.append(error)
                else:
                    self.answers.append((response.model_spec.version.value, list(response.outputs["y"].float_val)))

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


def test_new_versions_take_over_without_a_failed_or_mixed_answer(base_path: Path, running: InProcessServer) -> None:
    first = latest(running)
    with Load(running.target, predict_request(M, x=np.float32([2.0]))) as load:
        for version in (first + 1, first + 2):
            wait_until(lambda: len(load.answers) >= 3)
            write_version(base_path, version)
            wait_until(lambda version=version: version in load.versions())
            wait_until(lambda version=version: state(running, version - 1) == "END")
    assert load.failures == []
    assert set(load.versions()) == {first, first + 1, first + 2}
    assert all(values == [1.0 + version] for version, values in load.answers)  # each by the version it names
    assert states(running.target, M)[first] == ("END", 0, "")
    assert states(running.target, M)[first + 2] == ("AVAILABLE", 0, "")
    assert running.announced[-3:] == [(M, version) for version in (first, first + 1, first + 2)]


def truncate_graph(version: Path) -> None:
    graph = version / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])


def empty(version: Path) -> None:
    shutil.rmtree(version)
    version.mkdir()


def truncate_weights(version: Path) -> None:
    (weights,) = (version / "variables").glob("variables.data*")
    weights.write_bytes(b"")


def warmed_up(*requests: predict_pb2.PredictRequest) -> Callable[[Path], None]:
    """Returns a function that writes warm-up records into a version."""

    def write(version: Path) -> None:
        (version / "assets.extra").mkdir()
        with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
            log = prediction_log_pb2.PredictionLog()
            for request in requests:
                log.predict_log.request.CopyFrom(request)
                writer.write(log.SerializeToString())

    return write


def warmup_of_garbage(version: Path) -> None:
    (version / "assets.extra").mkdir()
    (version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no records at all" * 10)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (truncate_graph, "saved_model.pb"),
        (empty, "SavedModel file does not exist"),
        (truncate_weights, "Read less bytes than requested"),
        (warmed_up(predict_request(M, "none")), 'Serving signature key "none" not found.'),
        (warmed_up(*[predict_request(M, x=[2.0])] * 1001), "Number of warmup records exceeds the maximum (1000)"),
        (warmup_of_garbage, "Please verify your warmup data is in TFRecord format."),
    ],
)
def test_a_broken_version_is_reported_and_the_good_one_goes_on(
    base_path: Path, running: InProcessServer, damage: Callable[[Path], None], text: str
) -> None:
    good, broken = latest(running), next_version(base_path)
    damage(copy_version(base_path, good, "not-yet"))
    (base_path / "not-yet").rename(base_path / str(broken))
    wait_until(lambda: state(running, broken) == "END")
    _, code, message = states(running.target, M)[broken]
    assert (code != 0, text in message, "\n" in message) == (True, True, False), message
    attempts = [f"{M} version {broken}: attempt {number}:" in running.log_text() for number in (1, 2, 3)]
    assert attempts == [True, True, False]  # --max_num_load_retries=1
    assert states(running.target, M)[good] == ("AVAILABLE", 0, "")
    assert answer_of(running.target, predict_request(M, x=[2.0]))[0] == good


@pytest.mark.parametrize("failures", [0, 2, 3])
def test_a_failed_load_is_tried_again_so_often_and_no_more(tmp_path: Path, failures: int) -> None:
    (tmp_path / NAME / "1").mkdir(parents=True)
    tries: list[int] = []

    def load(path: Path, version: int) -> Servable:
        tries.append(version)
        if len(tries) <= failures:
            raise OSError(f"failure {len(tries)}")
        return BlockingModel(version).servable

    manager = ModelManager(ManagerConfig(max_retries=2, retry_interval_s=0.01), load, lambda: None)
    if failures <= 2:
        manager.reload(single_model(NAME, tmp_path / NAME))
        assert manager.available() == {NAME: [1]}
        assert manager.statuses(NAME)[1].error is None
    else:
        with pytest.raises(ServingError, match="due to error: NOT_FOUND: failure 3"):
            manager.reload(single_model(NAME, tmp_path / NAME))
        assert manager.statuses(NAME)[1].state == State.END
    assert tries == [1] * min(1 + failures, 3)
    manager.stop()


def test_a_version_taken_away_leaves_the_older_one_and_may_come_back(base_path: Path, running: InProcessServer) -> None:
    old, new = latest(running), next_version(base_path)
    for version in base_path.iterdir():
        if version.name != str(old):
            shutil.rmtree(version)
    write_version(base_path, new)
    for _ in range(2):
        wait_until(lambda: serving(running.target, M) == {new})
        (base_path / str(new)).rename(base_path / "away")
        wait_until(lambda: serving(running.target, M) == {old})
        (base_path / "away").rename(base_path / str(new))
    wait_until(lambda: serving(running.target, M) == {new})
    (base_path / str(old)).rename(base_path / "gone")
    (base_path / str(new)).rename(base_path / "away")
    wait_until(lambda: serving(running.target, M) == set())
    with stubs(running.target) as (prediction, _):
        expected = (grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({M})")
        assert refusal(prediction.Predict, predict_request(M, x=[2.0])) == expected
    (base_path / "away").rename(base_path / str(new))
    wait_until(lambda: serving(running.target, M) == {new})


def test_a_version_in_use_is_unloaded_after_its_answer(tmp_path: Path) -> None:
    models: dict[int, BlockingModel] = {}

    def load(path: Path, version: int) -> Servable:
        return models.setdefault(version, BlockingModel(version)).servable

    with stack(tmp_path, load=load) as running, stubs(running.target) as (prediction, _):
        with models[1].blocked():
            slow = prediction.Predict.future(predict_request(NAME, x=[2.0]), timeout=PATIENCE_S)
            models[1].started.get(timeout=PATIENCE_S)
            (tmp_path / NAME / "2").mkdir()
            wait_until(lambda: running.manager.statuses(NAME)[1].state == State.UNLOADING)
            assert prediction.Predict(predict_request(NAME, x=[2.0]), timeout=PATIENCE_S).model_spec.version.value == 2
            assert not slow.done()
        assert slow.result().model_spec.version.value == 1
        wait_until(lambda: running.manager.statuses(NAME)[1].state == State.END)


def test_warmup_records_are_replayed(base_path: Path, running: InProcessServer) -> None:
    version = next_version(base_path)
    warmed_up(*[predict_request(M, x=[2.0])] * 3)(copy_version(base_path, latest(running), "not-yet"))
    (base_path / "not-yet").rename(base_path / str(version))
    wait_until(lambda: serving(running.target, M) == {version})
    assert f"replayed 3 warm-up requests of {base_path}/{version}" in running.log_text()


def test_warmup_can_be_switched_off(half_plus: Path, tmp_path: Path) -> None:
    warmed_up(predict_request(M, "none"))(shutil.copytree(half_plus / "1", tmp_path / "1"))
    with in_process_server(f"--model_base_path={tmp_path}", "--enable_model_warmup=false") as running:
        assert answer_of(running.target, predict_request("default", x=[2.0])) == (1, [2.0])


def test_a_configuration_that_is_refused_leaves_no_model(tmp_path: Path) -> None:
    manager = ModelManager(ManagerConfig(), lambda *_: BlockingModel().servable, lambda: None)
    config = single_model(NAME, tmp_path)
    config.model_config_list.config[0].version_labels["stable"] = 1
    for _ in range(2):
        with pytest.raises(ServingError) as error:
            manager.reload(config)
        assert error.value.code == grpc.StatusCode.FAILED_PRECONDITION
    assert not manager._models
    manager.stop()
