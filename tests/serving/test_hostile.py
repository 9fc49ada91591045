"""Hostile requests: each is refused or bounded, while an honest client is served."""

import contextlib
import gc
import gzip
import http.client
import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_management_pb2

from serving.server.batching import BatchingConfig, BatchScheduler
from serving.server.calls import Call, ServingError
from serving.server.grpc_server import GrpcConfig
from serving.server.http_server import HttpConfig
from serving.server.metrics import Metrics
from serving.server.tensors import parse_object
from serving.server_process import wait_until
from tests.serving.blocking import NAME, BlockingModel, Stack, stack
from tests.serving.servers import PATIENCE_S, predict_request, refusal, stubs

PREDICT = f"/v1/models/{NAME}:predict"
ONE = b'{"instances": [4.0]}'
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server whose calls have a long time limit."""
    with stack(tmp_path_factory.mktemp("served"), http=HttpConfig(port=0, timeout_s=PATIENCE_S)) as running:
        yield running


def post(running: Stack, body: bytes, headers: Mapping[str, str] = MappingProxyType({})) -> tuple[int, object]:
    connection = http.client.HTTPConnection("localhost", running.http.port, timeout=PATIENCE_S)
    connection.request("POST", PREDICT, body, headers)
    response = connection.getresponse()
    found = response.status, json.loads(response.read())
    connection.close()
    return found


def honest(running: Stack) -> bool:
    """Returns whether gRPC and REST both answer."""
    with stubs(running.target) as (prediction, _):
        response = prediction.Predict(predict_request(NAME, x=np.float32([4.0])), timeout=PATIENCE_S)
    return list(response.outputs["y"].float_val) == [2.0] and post(running, ONE) == (200, {"predictions": [2.0]})


@contextlib.contextmanager
def raw(running: Stack, sent: bytes) -> Iterator[socket.socket]:
    """A connection to the REST port on which `sent` was sent."""
    with socket.create_connection(("localhost", running.http.port), PATIENCE_S) as connection:
        connection.sendall(sent)
        yield connection


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(4096):
            answer += part
    return answer


def head(*lines: str) -> bytes:
    return "\r\n".join((f"POST {PREDICT} HTTP/1.1", "Host: here", *lines, "", "")).encode()


# HTTP


@pytest.mark.extended
def test_bodies_that_are_declared_and_never_sent_take_no_room(served: Stack) -> None:
    with contextlib.ExitStack() as silent:
        for _ in range(8):
            silent.enter_context(raw(served, head(f"Content-Length: {64 * MEBIBYTE}") + b"{"))
        wait_until(lambda: served.gate.active == 8)
        assert honest(served)
    wait_until(lambda: served.gate.active == 0)


@pytest.mark.extended
def test_small_zipped_bodies_at_once_take_what_they_hold(served: Stack) -> None:
    body, found = gzip.compress(ONE), []
    threads = [
        threading.Thread(target=lambda: found.append(post(served, body, {"Content-Encoding": "gzip"})))
        for _ in range(16)
    ]
    with served.model.blocked():  # all sixteen are inside at once
        for thread in threads:
            thread.start()
        wait_until(lambda: served.gate.active == 16)
    for thread in threads:
        thread.join()
    assert found == [(200, {"predictions": [2.0]})] * 16
    assert honest(served)


@pytest.mark.extended
def test_a_zip_bomb_ends_at_the_limit_and_bodies_share_their_room(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(4 * MEBIBYTE))
    limits = HttpConfig(port=0, max_body_bytes=MEBIBYTE, max_bodies_bytes=MEBIBYTE, timeout_s=PATIENCE_S)
    with stack(tmp_path, http=limits) as running:
        expected = (429, {"error": f"request body larger than {MEBIBYTE} bytes"})
        assert post(running, bomb, {"Content-Encoding": "gzip"}) == expected
        half = b" " * (5 * MEBIBYTE // 8)
        with raw(running, head(f"Content-Length: {MEBIBYTE}") + half):
            wait_until(lambda: running.http.free_body_bytes < MEBIBYTE // 2)
            assert post(running, half) == (429, {"error": "too many large requests at a time"})
            assert honest(running)
        wait_until(lambda: running.http.free_body_bytes == MEBIBYTE)  # all of it came back


@pytest.mark.extended
@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b'{"instances": [' + b"[]," * (5 * MEBIBYTE) + b"[]]}", 429, id="lists side by side"),
        pytest.param(b'{"instances": ' + b"[" * (16 * MEBIBYTE), 429, id="lists in lists"),
        pytest.param(b'{"instances": ' + b"[" * 500_000 + b"]" * 500_000 + b"}", 400, id="fewer lists in lists"),
        pytest.param(b'{"instances": [' + b"[[],[]]," * 300_000 + b"[]]}", 429, id="as many as are taken"),
        pytest.param(b'{"instances": [' + b"1," * (4 * MEBIBYTE) + b"1]}", 429, id="numbers"),
    ],
)
def test_json_is_bounded_before_it_is_parsed(served: Stack, body: bytes, status: int) -> None:
    found: list[int] = []
    hostile = threading.Thread(target=lambda: found.append(post(served, body)[0]))
    hostile.start()
    while hostile.is_alive():
        assert honest(served)
    assert found == [status]


@pytest.mark.extended
def test_thirty_two_scenes_are_taken_as_json(served: Stack) -> None:
    scene = np.random.default_rng(0).normal(size=(87, 144, 2)).round(3)
    text = json.dumps(scene.tolist())
    document = parse_object(f'{{"instances": [{",".join([text] * 32)}]}}'.encode())
    assert len(document["instances"]) == 32
    for key, answer in (("instances", "predictions"), ("inputs", "outputs")):
        status, found = post(served, f'{{"{key}": [{text}]}}'.encode())
        assert status == 200
        np.testing.assert_allclose(np.array(found[answer], np.float32), [scene / 2], rtol=1e-5)  # type: ignore[index]


@pytest.mark.extended
@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(("Transfer-Encoding: gzip, chunked",), id="two codings"),
        pytest.param(("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), id="two transfer encodings"),
        pytest.param(("Transfer-Encoding: identity",), id="another coding"),
        pytest.param(("Content-Length: 20", "Content-Length: 20"), id="two lengths"),
        pytest.param(("Content-Length: 20, 20",), id="two lengths in a line"),
        pytest.param(("Content-Length: 20", "Transfer-Encoding: chunked"), id="length and chunks"),
        pytest.param(("Transfer-Encoding: chunked", "content-length : 20"), id="chunks and a length with a blank"),
        pytest.param(("Content-Length: +20",), id="a signed length"),
    ],
)
def test_framing_that_can_be_read_in_two_ways_is_refused(served: Stack, lines: tuple[str, ...]) -> None:
    smuggled = b"0\r\n\r\n" + head("Content-Length: 20") + ONE
    with raw(served, head(*lines) + smuggled) as connection:
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"onnection: close" in answer
    assert honest(served)


def until_in_time(status: int, ask: Callable[[], bytes]) -> bytes:
    """Repeats a request until its answer is neither 408 nor cut off: on a busy machine its head or body can be late."""
    answer = b""
    while not answer or (status != 408 and answer.startswith(b"HTTP/1.1 408 ")):
        with contextlib.suppress(ConnectionError):
            answer = ask()
    return answer


@pytest.mark.extended
def test_headers_that_drip_are_cut_off_and_so_are_bodies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stack(tmp_path, http=HttpConfig(port=0, timeout_s=PATIENCE_S)) as running:

        def drip(first: bytes) -> bytes:
            """Sends a byte every 0.05 s until the server answers or closes the connection; returns the answer."""
            with raw(running, first) as connection:
                connection.settimeout(0.05)
                while True:
                    try:
                        return connection.recv(4096)
                    except TimeoutError:
                        connection.sendall(b"a")
                    except ConnectionError:
                        return b""

        def begins_another() -> bytes:
            with raw(running, head("Content-Length: 20") + ONE + b"POST ") as kept:
                return read_all(kept)

        with monkeypatch.context() as patched:
            patched.setattr("serving.server.http_protocol.HEAD_S", 0.5)
            assert drip(f"POST {PREDICT} HTTP/1.1\r\nHost: ".encode()) == b""
            answer = until_in_time(200, begins_another)  # the second request never becomes whole
            assert (answer.count(b"HTTP/1.1 200 "), answer.count(b"HTTP/1.1 ")) == (1, 1)
        with monkeypatch.context() as patched:
            patched.setattr(running.http, "config", HttpConfig(timeout_s=0.5))
            answer = until_in_time(408, lambda: drip(head("Content-Length: 100000")))
            assert answer.startswith(b"HTTP/1.1 408 ")
        assert honest(running)


@pytest.mark.extended
def test_connections_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.server.http_protocol.HEAD_S", PATIENCE_S)
    with stack(tmp_path, http=HttpConfig(port=0, num_threads=1, timeout_s=PATIENCE_S)) as running:
        connections = running.http._server.server_state.connections
        with contextlib.ExitStack() as silent:
            many = [silent.enter_context(raw(running, b"")) for _ in range(33)]
            assert read_all(many[-1]) == b""  # 32 are held for each thread
            wait_until(lambda: len(connections) == 32)
        wait_until(lambda: not connections)
        assert honest(running)


@pytest.mark.extended
def test_a_rest_call_ends_in_its_time_wherever_it_is(tmp_path: Path) -> None:
    with stack(tmp_path, http=HttpConfig(port=0, num_threads=1, timeout_s=0.5)) as running:

        def late(body: bytes) -> bool:
            """Returns whether a call ended at its time limit."""

            def ask() -> bytes:
                with raw(running, head(f"Content-Length: {len(body)}", "Connection: close") + body) as connection:
                    return read_all(connection)

            answer = until_in_time(504, ask)
            return answer.startswith(b"HTTP/1.1 504 ") and answer.endswith(b'{"error": "Deadline Exceeded"}')

        with running.model.blocked():
            while running.model.started.empty():
                assert late(ONE)  # while it runs
            assert late(b'{"instances": [6.0]}')  # while it waits for the one thread
        wait_until(lambda: not running.http.workers.pending)
        assert running.model.started.get().tolist() == [4.0]
        assert running.model.started.empty()  # what had waited too long was not begun


@pytest.mark.extended
def test_a_body_has_its_room_until_its_work_has_ended(tmp_path: Path) -> None:
    with stack(tmp_path, http=HttpConfig(port=0, timeout_s=0.5, max_bodies_bytes=100)) as running:

        def ask() -> bytes:
            with raw(running, head(f"Content-Length: {len(ONE)}", "Connection: close") + ONE) as connection:
                return read_all(connection)

        with running.model.blocked():
            while running.model.started.empty():
                assert until_in_time(504, ask).startswith(b"HTTP/1.1 504 ")
            wait_until(lambda: running.http.free_body_bytes == 100 - len(ONE))
            assert len(running.http.workers.pending) == 1
        wait_until(lambda: running.http.free_body_bytes == 100)


@pytest.mark.extended
@pytest.mark.parametrize("collects", [True, False])
def test_large_json_takes_turns_within_the_calls_time(monkeypatch: pytest.MonkeyPatch, collects: bool) -> None:
    large, turn, before = b'{"a": "' + b" " * MEBIBYTE + b'"}', threading.Lock(), gc.isenabled()
    monkeypatch.setattr("serving.server.tensors._LARGE_JSON", turn)
    with turn, pytest.raises(ServingError) as error:
        parse_object(large, Call(0.05))
    assert error.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    try:
        (gc.enable if collects else gc.disable)()
        assert parse_object(large, Call(PATIENCE_S)) == {"a": " " * MEBIBYTE}
        assert gc.isenabled() == collects
        assert not turn.locked()
    finally:
        (gc.enable if before else gc.disable)()


# gRPC: deadlines and health


@pytest.mark.extended
def test_calls_that_are_given_up_keep_no_thread(tmp_path: Path) -> None:
    with (
        stack(tmp_path, GrpcConfig(port=0, max_threads=1, health=True)) as running,
        stubs(running.target) as (prediction, _),
    ):
        with running.model.blocked():
            first = prediction.Predict.future(predict_request(NAME, x=[2.0]), timeout=PATIENCE_S)
            running.model.started.get(timeout=PATIENCE_S)
            given_up = [prediction.Predict.future(predict_request(NAME, x=[3.0])) for _ in range(4)]
            late = [prediction.Predict.future(predict_request(NAME, x=[3.0]), timeout=0.2) for _ in range(4)]
            wait_until(lambda: len(running.grpc.workers.pending) in (5, 9))
            for call in given_up:
                call.cancel()
            assert {call.code() for call in late} == {grpc.StatusCode.DEADLINE_EXCEEDED}
            wait_until(lambda: len(running.grpc.workers.pending) == 1)  # places are free while the first still runs
        assert list(first.result().outputs["y"].float_val) == [1.0]
        assert running.model.started.empty()


@pytest.mark.extended
def test_a_call_waits_in_a_batch_until_its_deadline(tmp_path: Path) -> None:
    model = BlockingModel()
    config = BatchingConfig(max_batch_size=8, batch_timeout_s=10 * PATIENCE_S, num_batch_threads=1)
    scheduler = BatchScheduler(config, Metrics())
    with pytest.raises(ServingError) as error:
        scheduler.run(model.run, {"x:0": np.float32([1.0])}, ["y:0"], Call(0.1))
    assert error.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    gone = Call(PATIENCE_S)
    threading.Timer(0.1, gone.end).start()
    with pytest.raises(ServingError) as error:
        scheduler.run(model.run, {"x:0": np.float32([1.0])}, ["y:0"], gone)
    assert error.value.code == grpc.StatusCode.CANCELLED
    full = scheduler.run(model.run, {"x:0": np.float32([2.0] * 6)}, ["y:0"], Call(PATIENCE_S))
    assert full[0].tolist() == [1.0] * 6
    assert model.started.get_nowait().tolist() == [2.0] * 6  # without the two nobody waits for


@pytest.mark.extended
def test_health_is_true_and_answers_beside_a_full_pool(tmp_path: Path) -> None:
    with (
        stack(tmp_path, GrpcConfig(port=0, max_threads=1, health=True)) as running,
        stubs(running.target) as (prediction, _),
        grpc.insecure_channel(running.target) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)

        def status(service: str = "") -> str:
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S)
            return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

        wait_until(lambda: status() == "SERVING")
        with running.model.blocked():
            calls = [prediction.Predict.future(predict_request(NAME, x=[2.0]), timeout=PATIENCE_S) for _ in range(20)]
            wait_until(lambda: sum(call.done() for call in calls) == 11)  # one is worked on, eight wait
            assert {status(), status("PredictionService"), status("ModelService"), status(NAME)} == {"SERVING"}
        codes = [call.code() for call in calls]
        assert codes.count(grpc.StatusCode.OK) == 9
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 11
        assert refusal(health.Check, health_pb2.HealthCheckRequest(service="other"))[0] == grpc.StatusCode.NOT_FOUND
        (tmp_path / NAME / "1").rename(tmp_path / "away")
        wait_until(lambda: status() == "NOT_SERVING" and status(NAME) == "NOT_SERVING")
        (tmp_path / "away").rename(tmp_path / NAME / "1")
        wait_until(lambda: status() == "SERVING")
        running.loop.run(running.grpc.stop_health())
        assert status() == "NOT_SERVING"


@pytest.mark.extended
def test_without_its_flag_health_is_not_there(tmp_path: Path) -> None:
    with stack(tmp_path, GrpcConfig(port=0)) as running, grpc.insecure_channel(running.target) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        assert refusal(check, health_pb2.HealthCheckRequest())[0] == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.extended
def test_what_breaks_inside_is_internal_logged_and_counted(served: Stack, caplog: pytest.LogCaptureFixture) -> None:
    with stubs(served.target) as (prediction, _):
        code, text = refusal(prediction.Predict, predict_request(NAME, x=[13.0]))
    assert (code, text) == (grpc.StatusCode.INTERNAL, "thirteen")
    assert post(served, b'{"instances": [13.0]}') == (500, {"error": "thirteen"})
    assert caplog.text.count("ZeroDivisionError: thirteen") == 2
    assert f'request_count{{model_name="{NAME}",status="INTERNAL"}} 2' in served.metrics.page()
    assert honest(served)


def counted(running: Stack) -> Counter[str]:
    """Returns the number of calls by model and status."""
    samples = re.findall(r':request_count{model_name="(\w*)",status="(\w+)"} (\d+)', running.metrics.page())
    return Counter({f"{model} {status}".strip(): int(count) for model, status, count in samples})


@pytest.mark.extended
def test_refusals_are_counted_once_wherever_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = HttpConfig(port=0, num_threads=1, max_body_bytes=100, timeout_s=PATIENCE_S)
    one = predict_request(NAME, x=[2.0])
    with (
        stack(tmp_path, GrpcConfig(port=0, max_threads=1), limits) as running,
        grpc.insecure_channel(running.target) as channel,
        stubs(running.target) as (prediction, _),
    ):
        with running.model.blocked():
            late = prediction.Predict.future(one, timeout=0.5)
            assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            late_ones = (f"{NAME} DEADLINE_EXCEEDED", f"{NAME} CANCELLED", "DEADLINE_EXCEEDED", "CANCELLED")
            wait_until(lambda: sum(counted(running)[late_one] for late_one in late_ones) == 1)  # the client may say so
            calls = [prediction.Predict.future(one, timeout=PATIENCE_S) for _ in range(11)]
            wait_until(lambda: sum(call.done() for call in calls) in (2, 3))
        refused = sum(call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED for call in calls)
        expected = Counter({f"{NAME} OK": 11 - refused, "RESOURCE_EXHAUSTED": refused})
        found = counted(running)
        assert sum(found.pop(late_one, 0) for late_one in late_ones) == 1  # not by its worker as well
        assert found == expected
        before = counted(running)
        raw_predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        assert refusal(raw_predict, b"\xff")[0] == grpc.StatusCode.INTERNAL
        assert post(running, b" " * 101)[0] == 429
        running.gate.closed = True
        assert refusal(prediction.Predict, one)[0] == grpc.StatusCode.UNAVAILABLE
        assert post(running, ONE)[0] == 503
        running.gate.closed = False
        assert counted(running) - before == Counter(INTERNAL=1, RESOURCE_EXHAUSTED=1, UNAVAILABLE=2)
        before = counted(running)
        monkeypatch.setattr("serving.server.http_server.Call", lambda _: Call(0.0))
        with raw(running, head("Content-Length: 10", "Connection: close")) as never_whole:
            assert read_all(never_whole).startswith(b"HTTP/1.1 408 ")
        assert counted(running) - before == Counter(DEADLINE_EXCEEDED=1)


@pytest.mark.extended
@pytest.mark.parametrize("text", [r'"\ud800"', r'{"b64": "\ud800"}', r'"\u0000"'])
def test_strings_that_are_no_text_break_nothing(served: Stack, text: str) -> None:
    assert post(served, f'{{"instances": [{text}]}}'.encode())[0] == 400
    assert post(served, f'{{"instances": [1.0], "signature_name": {text}}}'.encode())[0] == 400
    assert honest(served)


# Reloads


def reload_request(*paths: Path | str) -> model_management_pb2.ReloadConfigRequest:
    request = model_management_pb2.ReloadConfigRequest()
    for path in paths:
        name = Path(str(path)).name.partition("\0")[0]
        request.config.model_config_list.config.add(name=name, base_path=str(path), model_platform="tensorflow")
    return request


@pytest.mark.extended
def test_paths_that_are_none_leave_the_poller_alive(tmp_path: Path) -> None:
    with stack(tmp_path) as running, stubs(running.target) as (_, service):
        code, text = refusal(service.HandleReloadConfigRequest, reload_request(f"{tmp_path}/{NAME}\0"))
        assert (code, "without NUL" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)
        for nonsense in ("/" + "a" * 5000, "/dev/null", "/\ud7ff"):  # no folder can be read: it waits for one
            call = service.HandleReloadConfigRequest.future(reload_request(tmp_path / NAME, nonsense), timeout=0.3)
            assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        (tmp_path / NAME / "2").mkdir()
        wait_until(lambda: running.manager.statuses(NAME).keys() >= {1, 2})
        assert honest(running)


@pytest.mark.extended
def test_a_look_that_breaks_leaves_the_poller_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Semaphore(0)

    def broken(*_: object) -> None:
        looked.release()
        raise KeyError("a look")

    with stack(tmp_path) as running:
        with monkeypatch.context() as patched:
            patched.setattr("serving.server.manager.aspired_versions", broken)
            assert looked.acquire(timeout=PATIENCE_S) and looked.acquire(timeout=PATIENCE_S)
        (tmp_path / NAME / "2").mkdir()
        wait_until(lambda: running.manager.statuses(NAME).keys() == {1, 2})


@pytest.mark.extended
def test_waiting_reloads_are_few_hold_nobody_up_and_end_with_the_server(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    waits = reload_request(tmp_path / NAME, tmp_path / "empty")
    with stack(tmp_path, GrpcConfig(port=0, max_threads=1)) as running, stubs(running.target) as (_, service):
        calls = [service.HandleReloadConfigRequest.future(waits, timeout=PATIENCE_S) for _ in range(6)]
        wait_until(lambda: sum(call.done() for call in calls) == 2)  # one at work, three wait
        refused = [call.code() for call in calls if call.done()]
        assert refused == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2
        assert honest(running)
        for call in calls:
            call.cancel()
        wait_until(lambda: not running.grpc._reloads.pending)
        service.HandleReloadConfigRequest(waits, timeout=PATIENCE_S)  # in force already: nothing is new in it
        more = reload_request(tmp_path / NAME, tmp_path / "empty", tmp_path / "more")
        waiting = service.HandleReloadConfigRequest.future(more, timeout=PATIENCE_S)
        wait_until(lambda: len(running.grpc._reloads.pending) == 1)
        running.manager.stop()
        assert waiting.code() == grpc.StatusCode.UNAVAILABLE
        assert honest(running)
