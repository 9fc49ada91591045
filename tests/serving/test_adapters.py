"""The parts of uvicorn and TensorFlow that are not public and that the server uses: each test fails if one changes."""

import asyncio
import importlib.metadata
import inspect
import tomllib
from pathlib import Path

import h11
import numpy as np
import pytest
import tensorflow as tf
import uvicorn
from packaging.requirements import Requirement
from tensorflow.python.client import pywrap_tf_session
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from serving.server.http_protocol import StrictConnection, TimedProtocol

CHANGED = "{} changed: adapt serving/server/{}, then this test"


def parameters(method: object) -> list[str]:
    return list(inspect.signature(method).parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize("package", ["h11", "uvicorn", "tensorflow"])
def test_the_installed_release_is_a_declared_one(package: str) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (declared,) = (r for r in map(Requirement, project["dependencies"]) if r.name == package)
    assert declared.specifier.contains(importlib.metadata.version(package)), f"expected {declared}"


# uvicorn


class Transport(asyncio.Transport):
    """Collects what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = b"", False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class App:
    """An ASGI application with the limits that the protocol reads."""

    config = type("Limits", (), {"timeout_s": 30.0, "num_threads": 1})

    async def __call__(self, scope: dict, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b"ok"})  # type: ignore[operator]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("connection_made", ["self", "transport"]),
        ("data_received", ["self", "data"]),
        ("connection_lost", ["self", "exc"]),
        ("pause_writing", ["self"]),
        ("resume_writing", ["self"]),
        ("on_response_complete", ["self"]),
        ("send_400_response", ["self", "msg"]),
    ],
)
def test_uvicorns_protocol_has_the_methods_that_ours_overrides(method: str, expected: list[str]) -> None:
    assert issubclass(H11Protocol, asyncio.Protocol)
    assert parameters(getattr(H11Protocol, method, lambda: None)) == expected, CHANGED.format(
        f"uvicorn's H11Protocol.{method}", "http_protocol.py"
    )


def test_uvicorns_protocol_calls_them_and_has_the_attributes_that_ours_uses() -> None:
    calls: list[str] = []

    class Recorder(TimedProtocol):
        def on_response_complete(self) -> None:
            calls.append("on_response_complete")
            super().on_response_complete()

        def send_400_response(self, msg: str) -> None:
            calls.append("send_400_response")
            super().send_400_response(msg)

    async def exchange() -> tuple[Recorder, Transport]:
        config = uvicorn.Config(App(), interface="asgi3", lifespan="off", log_config=None)
        config.load()
        protocol, transport = Recorder(config, ServerState(), {}), Transport()
        protocol.connection_made(transport)
        assert protocol.connections == {protocol}
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        await asyncio.gather(*protocol.tasks)
        protocol.data_received(b"nonsense\r\n\r\n")
        protocol.connection_lost(None)
        return protocol, transport

    protocol, transport = asyncio.run(exchange())
    message = CHANGED.format("uvicorn's H11Protocol", "http_protocol.py")
    assert calls == ["on_response_complete", "send_400_response"], message
    assert isinstance(protocol.conn, StrictConnection), message
    assert isinstance(protocol.loop, asyncio.AbstractEventLoop), message
    assert protocol.transport is transport and transport.closed, message
    assert transport.written.count(b"HTTP/1.1 200") == transport.written.count(b"HTTP/1.1 400") == 1, message


def test_h11_keeps_the_head_of_a_request_until_it_is_parsed() -> None:
    """`trailing_data` and `their_state` are public; that the whole head is among it is what the framing check needs."""
    head = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n"
    connection = h11.Connection(h11.SERVER)
    for part in (head[:30], head[30:]):
        assert connection.their_state is h11.IDLE
        connection.receive_data(part)
    assert connection.trailing_data == (head, False), CHANGED.format("h11.Connection", "http_protocol.py")
    assert isinstance(connection.next_event(), h11.Request)


# TensorFlow


def test_tensorflow_has_the_private_parts_that_a_session_uses() -> None:
    message = CHANGED.format("TensorFlow's Session", "servable.py")
    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None], "x")
        y = 2.0 * x
    session = tf.compat.v1.Session(graph=graph)
    assert parameters(session._extend_graph) == [], message
    assert parameters(session._call_tf_sessionrun) == [
        "options", "feed_dict", "fetch_list", "target_list", "run_metadata"
    ], message  # fmt: skip
    session._extend_graph()
    feeds = {x._as_tf_output(): np.float32([1.0, 2.0])}
    buffer = pywrap_tf_session.TF_NewBufferFromString(b"")
    values = session._call_tf_sessionrun(buffer, feeds, [y._as_tf_output()], [], None)
    pywrap_tf_session.TF_DeleteBuffer(buffer)
    assert [value.tolist() for value in values] == [[2.0, 4.0]], message
