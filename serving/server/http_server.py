"""HTTP/1.1 for REST: an ASGI application on uvicorn, with bounds on bodies, memory and time."""

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import socket
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from serving.server import calls
from serving.server.calls import Call, CallGate, EventLoopThread, ServingError, Workers
from serving.server.http_protocol import IDLE_S, TimedProtocol
from serving.server.rest import Answer, RestApi, error_answer

_LINGER_S, _SHUTDOWN_S = 1.0, 5
_CHUNK_BYTES = 2**18
_GZIP = 16 + zlib.MAX_WBITS

logging.getLogger("uvicorn").setLevel(logging.ERROR)  # malformed requests are no reason to log


@dataclasses.dataclass(frozen=True)
class HttpConfig:
    """Port and limits of the HTTP server."""

    port: int = 8501  # TCP port on all addresses; 0 takes a free one
    num_threads: int = max(16, 4 * (os.cpu_count() or 1))
    """Requests that run at a time (--rest_api_num_threads). As many may wait, on 32 times as many connections."""
    timeout_s: float = 30.0
    """Seconds from the headers of a request to its answer (--rest_api_timeout_in_ms). Headers have 10 s at most."""
    max_body_bytes: int = 64 * 2**20  # largest body after decompression
    max_bodies_bytes: int = 256 * 2**20  # largest sum of all bodies in memory; a request beyond it is answered 429


class _ClientDisconnected(Exception):
    """The client has closed the connection."""


class _Body:
    """The body of one request, read through ASGI's `receive`. Its bytes count against the server's memory limit."""

    def __init__(self, scope: dict, receive: Callable, server: "HttpServer") -> None:
        headers = dict(scope["headers"])
        self._gzip = zlib.decompressobj(_GZIP) if headers.get(b"content-encoding", b"").lower() == b"gzip" else None
        self._declared_bytes = int(headers.get(b"content-length", 0))
        self._receive, self._server = receive, server
        self.content, self.complete = bytearray(), False

    async def _next_part(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise _ClientDisconnected
        self.complete = not message.get("more_body", False)
        return message.get("body", b"")

    def _decoded(self, data: bytes) -> Iterator[bytes]:
        if self._gzip is None:
            yield data
            return
        while data:
            yield self._gzip.decompress(data, _CHUNK_BYTES)
            data = self._gzip.unconsumed_tail
        if self.complete:
            yield self._gzip.flush()
            if not self._gzip.eof:
                raise zlib.error

    async def read(self) -> None:
        """Reads and decompresses the whole body. Raises ServingError for invalid gzip data or beyond a limit."""
        limit = self._server.config.max_body_bytes
        too_large = calls.resource_exhausted(f"request body larger than {limit} bytes")
        if self._declared_bytes > limit:
            raise too_large
        try:
            while not self.complete:
                for chunk in self._decoded(await self._next_part()):
                    if len(self.content) + len(chunk) > limit:
                        raise too_large
                    if len(chunk) > self._server.free_body_bytes:
                        raise calls.resource_exhausted("too many large requests at a time")
                    self._server.free_body_bytes -= len(chunk)
                    self.content += chunk
                    await asyncio.sleep(0)  # a zip bomb must not block other requests
        except zlib.error:
            raise calls.invalid_argument("Failed to uncompress the gzipped body") from None

    def release(self) -> None:
        """Frees the memory."""
        self._server.free_body_bytes += len(self.content)
        self.content = bytearray()

    async def discard_rest(self) -> None:
        """Reads and drops the rest, for 1 s at most: closing a connection with unread bytes can destroy the answer."""
        with contextlib.suppress(TimeoutError, _ClientDisconnected):
            async with asyncio.timeout(_LINGER_S):
                while not self.complete:
                    await self._next_part()


class HttpServer:
    """The HTTP server and its ASGI application. It accepts connections on `port` as soon as it is constructed.

    `gate` counts calls, and refuses them during shutdown. Raises OSError if the port is not available.
    """

    def __init__(self, rest: RestApi, config: HttpConfig, loop: EventLoopThread, gate: CallGate) -> None:
        self.config = config
        self._rest, self._gate = rest, gate
        self.free_body_bytes = config.max_bodies_bytes  # that further bodies may take
        self.workers = Workers(config.num_threads, config.num_threads, "http")
        listening = socket.create_server(("0.0.0.0", config.port))
        self.port = listening.getsockname()[1]
        options: dict[str, Any] = {"interface": "asgi3", "lifespan": "off", "ws": "none", "http": TimedProtocol}
        options |= {"log_config": None, "access_log": False, "server_header": False, "proxy_headers": False}
        options |= {"timeout_keep_alive": IDLE_S, "timeout_graceful_shutdown": _SHUTDOWN_S}
        self._server = uvicorn.Server(uvicorn.Config(self, **options))
        self._running = loop.submit(self._server.serve([listening]))

    def stop(self) -> None:
        """Closes the port and idle connections; answers that are being sent have 5 s."""
        self._server.should_exit = True
        self._running.result()

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Handles a request, as ASGI defines it."""
        body, call = _Body(scope, receive, self), Call(self.config.timeout_s)
        with contextlib.ExitStack() as admitted, contextlib.suppress(_ClientDisconnected):
            try:
                with self._rest.core.counted(call):
                    admitted.enter_context(self._gate.admit())
                    answer = await self._answer(scope, receive, body, call)
            except ServingError as error:
                answer = error_answer(error)
            except TimeoutError:
                answer = Answer(408, json.dumps({"error": "the request did not arrive in time"}))
            finally:  # a worker may run longer than its call
                loop = asyncio.get_running_loop()
                call.work.add_done_callback(lambda _: loop.call_soon_threadsafe(body.release))
            await self._send(send, answer, body)

    async def _answer(self, scope: dict, receive: Callable, body: _Body, call: Call) -> Answer:
        async with asyncio.timeout(call.remaining_s()):
            await body.read()
        disconnected = asyncio.ensure_future(receive())  # after the body, only the end of the connection can arrive
        disconnected.add_done_callback(lambda _: call.end())
        method, path = scope["method"], scope["raw_path"].decode("ascii")
        try:
            return await self.workers.run(call, lambda: self._rest.answer(method, path, bytes(body.content), call))
        finally:
            disconnected.cancel()

    async def _send(self, send: Callable, answer: Answer, body: _Body) -> None:
        content = answer.body.encode()
        headers = [(b"content-type", answer.content_type.encode()), (b"content-length", str(len(content)).encode())]
        if self._gate.closed or not body.complete:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": True})
        await body.discard_rest()
        await send({"type": "http.response.body"})
