"""HTTP/1.1 for REST: uvicorn over h11, with bounds on connections, on the time of every step and on what is held."""

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import re
import socket
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.server.calls import Call, Door, Loop, ServingError, Workers, exhausted, invalid_argument
from serving.server.rest import Answer, RestApi, error_answer

_CONNECTIONS_PER_THREAD = 32
_HEAD_S, _IDLE_S, _LINGER_S, _LAST_BYTES_S = 10.0, 60.0, 1.0, 5
_PIECE = 2**18
_GZIP = 16 + zlib.MAX_WBITS
_FRAMING = re.compile(rb"^(?:content-length|transfer-encoding)[ \t]*:([^\n]*)", re.I | re.M)
_END_OF_HEAD = re.compile(rb"\n\r?\n")

logging.getLogger("uvicorn").setLevel(logging.ERROR)  # what strangers send is no news


@dataclasses.dataclass(frozen=True)
class HttpConfig:
    """Where HTTP is spoken, and its limits."""

    port: int = 8501
    """TCP port on all addresses; 0 takes a free one."""
    num_threads: int = max(16, 4 * (os.cpu_count() or 1))
    """Requests worked on at a time (--rest_api_num_threads); as many may wait, and 32 times as many connections are."""
    timeout_s: float = 30.0
    """Time for a request from its headers to its answer (--rest_api_timeout_in_ms); headers have 10 s at most."""
    max_body_bytes: int = 64 * 2**20
    """The largest body, unzipped."""
    max_bodies_bytes: int = 256 * 2**20
    """All that is held of bodies at a time; what goes beyond is answered 429."""


class _Gone(Exception):
    """The client has closed the connection."""


class _StrictConnection(h11.Connection):
    """Refuses requests in whose framing two readers could see two ends, a door for smuggled requests: h11 takes a
    length beside chunks, or twice."""

    def next_event(self) -> Any:
        head = self.trailing_data[0] if self.their_state is h11.IDLE else b""
        event = super().next_event()
        if isinstance(event, h11.Request):
            ends = _FRAMING.findall(_END_OF_HEAD.split(head, 1)[0])
            if len(ends) > 1 or any(b"," in end for end in ends):
                raise h11.RemoteProtocolError("the body's end is said more than once")
        return event


class _Protocol(H11Protocol):
    """uvicorn's connection, of which there are so many at most, and with time limits uvicorn does not have."""

    def __init__(self, config: uvicorn.Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.conn = _StrictConnection(h11.SERVER)
        self._limits: HttpConfig = config.app.config  # type: ignore[union-attr]
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def _within(self, name: str, seconds: float | None) -> None:
        """Cuts the connection off after so many seconds; None lifts that."""
        if seconds is None and name in self._timers:
            self._timers.pop(name).cancel()
        elif seconds is not None and name not in self._timers:
            self._timers[name] = self.loop.call_later(seconds, self.transport.abort)

    def _watch_head(self) -> None:
        self._within("head", min(_HEAD_S, self._limits.timeout_s) if self.conn.their_state is h11.IDLE else None)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.num_threads * _CONNECTIONS_PER_THREAD:
            transport.abort()
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.trailing_data[0]:  # the next head has begun
            self._watch_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._within("read by the client", _IDLE_S)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._within("read by the client", None)

    def connection_lost(self, exc: Exception | None) -> None:
        for name in list(self._timers):
            self._within(name, None)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # else an answer is being sent
            super().send_400_response(msg)
        self.transport.close()


class _Body:
    """The body of a request, of ASGI's scope and receive; what has come of it is taken out of the server's room."""

    def __init__(self, scope: dict, receive: Callable, server: "HttpServer") -> None:
        headers = dict(scope["headers"])
        self._unzip = zlib.decompressobj(_GZIP) if headers.get(b"content-encoding", b"").lower() == b"gzip" else None
        self._declared = int(headers.get(b"content-length", 0))
        self._receive, self._server = receive, server
        self.held, self.whole = bytearray(), False

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        self.whole = not message.get("more_body", False)
        return message.get("body", b"")

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        if self._unzip is None:
            yield data
            return
        while data:
            yield self._unzip.decompress(data, _PIECE)
            data = self._unzip.unconsumed_tail
        if self.whole:
            yield self._unzip.flush()
            if not self._unzip.eof:
                raise zlib.error

    async def read(self) -> None:
        """Takes all of it in, unzipped. Raises: ServingError: INVALID_ARGUMENT or RESOURCE_EXHAUSTED. _Gone."""
        limit = self._server.config.max_body_bytes
        too_large = exhausted(f"request body larger than {limit} bytes")
        if self._declared > limit:
            raise too_large
        try:
            while not self.whole:
                for piece in self._pieces(await self._next()):
                    if len(self.held) + len(piece) > limit:
                        raise too_large
                    if len(piece) > self._server.room:
                        raise exhausted("too many large requests at a time")
                    self._server.room -= len(piece)
                    self.held += piece
                    await asyncio.sleep(0)  # others have their turn between the pieces of a bomb
        except zlib.error:
            raise invalid_argument("Failed to uncompress the gzipped body") from None

    def release(self) -> None:
        """Gives its room back."""
        self._server.room += len(self.held)
        self.held = bytearray()

    async def let_pass(self) -> None:
        """Reads on for a moment and drops it: a connection closed on unread bytes would take the answer with it."""
        with contextlib.suppress(TimeoutError, _Gone):
            async with asyncio.timeout(_LINGER_S):
                while not self.whole:
                    await self._next()


class HttpServer:
    """An HTTP server, answering once it is made, and the ASGI application it runs: bytes pass in `loop`, every call
    through `door`. `room`: bytes that bodies may still take.

    Raises: OSError: the port can't be taken.
    """

    def __init__(self, rest: RestApi, config: HttpConfig, loop: Loop, door: Door) -> None:
        self.config = config
        self._rest, self._door = rest, door
        self.room = config.max_bodies_bytes
        self.workers = Workers(config.num_threads, config.num_threads, "http")
        listening = socket.create_server(("0.0.0.0", config.port))
        self.port = listening.getsockname()[1]
        options: dict[str, Any] = {"interface": "asgi3", "lifespan": "off", "ws": "none", "http": _Protocol}
        options |= {"log_config": None, "access_log": False, "server_header": False, "proxy_headers": False}
        options |= {"timeout_keep_alive": _IDLE_S, "timeout_graceful_shutdown": _LAST_BYTES_S}
        self._server = uvicorn.Server(uvicorn.Config(self, **options))
        self._running = loop.begin(self._server.serve([listening]))

    def stop(self) -> None:
        """Takes no more connections and closes those that are idle; the last bytes have some seconds."""
        self._server.should_exit = True
        self._running.result()

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """A request, as ASGI has it."""
        body, call = _Body(scope, receive, self), Call(self.config.timeout_s)
        with contextlib.ExitStack() as inside, contextlib.suppress(_Gone):
            try:
                with self._rest.core.counted(call):
                    inside.enter_context(self._door.entered())
                    answer = await self._answer(scope, receive, body, call)
            except ServingError as error:
                answer = error_answer(error)
            except TimeoutError:
                answer = Answer(408, json.dumps({"error": "the request did not arrive in time"}))
            finally:  # a worker may outlive its call
                loop = asyncio.get_running_loop()
                call.work.add_done_callback(lambda _: loop.call_soon_threadsafe(body.release))
            await self._send(send, answer, body)

    async def _answer(self, scope: dict, receive: Callable, body: _Body, call: Call) -> Answer:
        async with asyncio.timeout(call.remaining_s()):
            await body.read()
        gone = asyncio.ensure_future(receive())  # nothing but the end can come now
        gone.add_done_callback(lambda _: call.end())
        method, path = scope["method"], scope["raw_path"].decode("ascii")
        try:
            return await self.workers.run(call, lambda: self._rest.answer(method, path, bytes(body.held), call))
        finally:
            gone.cancel()

    async def _send(self, send: Callable, answer: Answer, body: _Body) -> None:
        content = answer.body.encode()
        headers = [(b"content-type", answer.content_type.encode()), (b"content-length", str(len(content)).encode())]
        if self._door.closed or not body.whole:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": True})
        await body.let_pass()
        await send({"type": "http.response.body"})
