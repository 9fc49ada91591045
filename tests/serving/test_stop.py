"""Start and shutdown of a server: when its ports open, and that nothing delays its end."""

import asyncio
import contextlib
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.model_server import flag_parser
from serving.server import calls
from serving.server.app import ModelServer
from serving.server_process import server_process, wait_until
from tests.serving.blocking import NAME, stack
from tests.serving.in_process import in_process_server
from tests.serving.servers import PATIENCE_S, predict_request, stubs
from tests.serving.test_hostile import ONE, head, post, raw, read_all, until_in_time

ENDLESS = np.int32([2**31 - 1])


def taken(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(("localhost", port)) == 0


def test_ports_take_connections_when_there_is_something_to_serve(
    half_plus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, go_on, announced = threading.Event(), threading.Event(), threading.Event()

    def slow_warmup(*_: object) -> int:
        loading.set()
        assert go_on.wait(PATIENCE_S)
        return 0

    monkeypatch.setattr("serving.server.app.replay_warmup", slow_warmup)
    made: list[object] = []
    for entrance in ("GrpcServer", "HttpServer"):
        monkeypatch.setattr(f"serving.server.app.{entrance}", lambda *arguments: made.append(arguments))
    flags = flag_parser().parse_args(["--port=0", "--rest_api_port=-1", f"--model_base_path={half_plus}"])
    server, stop = ModelServer(flags, lambda *_: announced.set()), threading.Event()
    thread = threading.Thread(target=server.serve, args=(stop,))
    thread.start()
    assert loading.wait(PATIENCE_S)
    assert made == []
    stop.set()  # loading does not delay the shutdown
    thread.join()
    go_on.set()


def test_the_line_names_both_ports(half_plus: Path) -> None:
    with server_process(f"--model_base_path={half_plus}", "--rest_api_port=-1") as running:
        assert running.lines == [f"serving default version 2 on port {running.port}, REST on port {running.rest_port}"]
        assert taken(running.port) and taken(running.rest_port)
        assert running.port != running.rest_port
        assert running.terminate() == 0


def test_what_is_inside_is_finished_and_the_rest_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_QUIET_S", 0.0)  # so that only the active calls delay it
    with stack(tmp_path) as running, stubs(running.target) as (prediction, _):
        request = predict_request(NAME, x=[2.0])
        prediction.Predict(request, timeout=PATIENCE_S)
        with running.model.blocked(), raw(running, head(f"Content-Length: {len(ONE)}") + ONE) as rest:
            call = prediction.Predict.future(request, timeout=PATIENCE_S)
            wait_until(lambda: running.gate.active == 2)
            drained = running.loop.submit(running.gate.drain(PATIENCE_S))
            wait_until(lambda: running.gate.closed)
            with pytest.raises(grpc.RpcError) as refused:
                prediction.Predict(request, timeout=PATIENCE_S)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            assert post(running, ONE) == (503, {"error": "the server is shutting down"})
            running.loop.run(asyncio.sleep(5 * calls._POLL_S))
            assert not drained.done()
            running.model.resume.set()
            assert list(call.result().outputs["y"].float_val) == [1.0]
            answer = read_all(rest)  # and the connection ends with it
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b'{"predictions": [2.0]}')
        assert b"connection: close" in answer.lower()
        assert drained.result(PATIENCE_S) is True


def test_watches_of_health_end_with_the_server(tmp_path: Path) -> None:
    statuses = health_pb2.HealthCheckResponse
    with stack(tmp_path) as running, grpc.insecure_channel(running.target) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=NAME))
        assert next(watch).status == statuses.SERVING
        running.loop.run(running.grpc.stop_health())
        assert next(watch).status == statuses.NOT_SERVING
        running.grpc.stop(PATIENCE_S)
        assert list(watch) == []
        assert watch.code() == grpc.StatusCode.OK  # one that the server had to cut off would be CANCELLED


@pytest.mark.extended
def test_a_watch_that_ends_leaves_the_others_theirs(tmp_path: Path) -> None:
    statuses, request = health_pb2.HealthCheckResponse, health_pb2.HealthCheckRequest(service=NAME)
    with stack(tmp_path) as running, grpc.insecure_channel(running.target) as channel:
        leaves, stays = (health_pb2_grpc.HealthStub(channel).Watch(request, timeout=PATIENCE_S) for _ in range(2))
        assert (next(leaves).status, next(stays).status) == (statuses.SERVING, statuses.SERVING)
        leaves.cancel()
        wait_until(lambda: len(running.grpc._health._changed._waiters) == 1)
        running.loop.run(running.grpc.stop_health())
        assert next(stays).status == statuses.NOT_SERVING


_DATA, _HEADERS, _SETTINGS = 0, 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Makes an HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def watches_without_reading() -> bytes:
    """Returns the bytes of an HTTP/2 client that watches health and accepts no byte of an answer."""
    heads = {":method": "POST", ":scheme": "http", ":path": "/grpc.health.v1.Health/Watch", ":authority": "here"}
    heads |= {"te": "trailers", "content-type": "application/grpc"}
    packed = b"".join(bytes([0, len(k)]) + k.encode() + bytes([len(v)]) + v.encode() for k, v in heads.items())
    no_window = frame(_SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    message = health_pb2.HealthCheckRequest(service=NAME).SerializeToString()
    body = frame(_DATA, 1, 1, b"\0" + struct.pack(">I", len(message)) + message)
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + no_window + frame(_HEADERS, 4, 1, packed) + body


@pytest.mark.extended
def test_a_watcher_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    statuses, request = health_pb2.HealthCheckResponse, health_pb2.HealthCheckRequest(service=NAME)
    with (
        stack(tmp_path) as running,
        grpc.insecure_channel(running.target) as channel,
        socket.create_connection(("localhost", running.grpc.port), PATIENCE_S) as silent,
    ):
        silent.sendall(watches_without_reading())
        with silent.makefile("rb") as frames:
            while (begin := frames.read(9))[3] != _HEADERS:  # the first status follows the headers, and is never read
                frames.read(int.from_bytes(begin[:3], "big"))
        watch = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=PATIENCE_S)
        assert next(watch).status == statuses.SERVING
        running.loop.submit(running.grpc.stop_health()).result(PATIENCE_S)
        assert next(watch).status == statuses.NOT_SERVING
        running.grpc.stop(0.1)


@pytest.mark.extended
def test_a_second_signal_ends_at_once(half_plus: Path) -> None:
    with server_process(f"--model_base_path={half_plus}") as running, stubs(running.target) as (prediction, _):
        call = prediction.Predict.future(predict_request("default", "slow", turns=ENDLESS))
        assert prediction.Predict(predict_request("default", x=[2.0]), timeout=PATIENCE_S)
        running.process.send_signal(signal.SIGINT)
        wait_until(lambda: refuses(prediction))
        assert not call.done()
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(PATIENCE_S) == 128 + signal.SIGINT


SIGNALS = """
import os, signal, threading
from serving.signals import on_signals

event, numbers = threading.Event(), []
on_signals(lambda number: (numbers.append(number), event.set()))
for number in (signal.SIGTERM, signal.SIGINT):
    event.clear()
    with event._cond:  # as during the start of a wait
        os.kill(os.getpid(), number)
        sum(range(1000))
    event.wait()
print(*numbers)
"""


def test_signals_are_handled_while_the_main_thread_begins_to_wait() -> None:
    """With handlers in the main thread, two of sixty servers ignored a signal during their start."""
    done = subprocess.run([sys.executable, "-c", SIGNALS], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.split() == [str(int(signal.SIGTERM)), str(int(signal.SIGINT))], done.stderr


def refuses(prediction) -> bool:
    try:
        prediction.Predict(predict_request("default", x=[2.0]), timeout=PATIENCE_S)
    except grpc.RpcError as error:
        return error.code() == grpc.StatusCode.UNAVAILABLE
    return False


@pytest.mark.extended
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_call_that_hangs_past_the_limit_does_not_hold_the_interpreter(half_plus: Path, number: int) -> None:
    program = "import serving.server.app as app; app._DRAIN_TIMEOUT_S = 0.3; import serving.model_server as m; m.main()"
    command = [sys.executable, "-c", program, "--port=0", f"--model_base_path={half_plus}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split()[-1]
        with stubs(f"localhost:{port}") as (prediction, _):
            call = prediction.Predict.future(predict_request("default", "slow", turns=ENDLESS))
            assert prediction.Predict(predict_request("default", x=[2.0]), timeout=PATIENCE_S)
            process.send_signal(number)
            assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert process.wait(PATIENCE_S) == 1  # not everything was finished


@pytest.mark.extended
def test_a_deadline_ends_a_run(half_plus: Path) -> None:
    with in_process_server(
        f"--model_base_path={half_plus}", "--rest_api_port=-1", "--rest_api_timeout_in_ms=500"
    ) as running:
        workers = running._server._grpc.workers
        with stubs(running.target) as (prediction, _):
            call = prediction.Predict.future(predict_request("default", "slow", turns=ENDLESS), timeout=0.5)
            assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        wait_until(lambda: not workers.pending)
        body = b'{"signature_name": "slow", "instances": [2147483647]}'
        sent = head(f"Content-Length: {len(body)}", "Connection: close").replace(NAME.encode(), b"default") + body

        def ask() -> bytes:
            with socket.create_connection(("localhost", running.rest_port), PATIENCE_S) as rest:
                rest.sendall(sent)
                return read_all(rest)

        assert until_in_time(504, ask).startswith(b"HTTP/1.1 504 ")
        wait_until(lambda: not running._server._http.workers.pending)
