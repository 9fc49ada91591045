"""HTTP/1.1 for REST: a thread a connection, connections kept alive, bounded in number, bodies and work."""

import contextlib
import dataclasses
import os
import socket
import socketserver
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc

from serving.server.errors import ServingError, invalid_argument
from serving.server.rest import Answer, error_answer

_CONNECTIONS_PER_THREAD = 32
_MAX_LINE = 65536
_MAX_TRAILERS = 100
_IDLE_S = 60.0

Respond = Callable[[str, str, bytes], Answer]
"""Method, path and body to an answer."""


@dataclasses.dataclass(frozen=True)
class HttpConfig:
    """Where HTTP is spoken, and its limits."""

    port: int = 8501
    num_threads: int = max(16, 4 * (os.cpu_count() or 1))
    """Requests worked on at a time (--rest_api_num_threads); 32 times as many connections are held."""
    timeout_s: float = 30.0
    """Time for a request to arrive, and to wait for its turn (--rest_api_timeout_in_ms)."""
    max_body_bytes: int = 64 * 2**20
    """The largest body."""
    max_bodies_bytes: int = 256 * 2**20
    """All bodies held at a time; what goes beyond is answered 429."""


def _exhausted(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


class _Bodies:
    """Room for the bodies of all requests."""

    def __init__(self, room: int) -> None:
        self._lock, self._room = threading.Lock(), room

    def take(self, size: int) -> None:
        with self._lock:
            if size > self._room:
                raise _exhausted("too many large requests at a time")
            self._room -= size

    def give_back(self, size: int) -> None:
        with self._lock:
            self._room += size


def _unzipped(data: bytearray, limit: int) -> bytes:
    unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        body = unzip.decompress(data, limit)
    except zlib.error:
        raise invalid_argument("Failed to uncompress the gzipped body") from None
    if unzip.unconsumed_tail:
        raise _exhausted(f"request body larger than {limit} bytes")
    return body


def _read_no_more(connection: socket.socket) -> None:
    """Ends a connection once what lies in its buffer is read."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RD)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "ris-mvdr", ""
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = _IDLE_S
    server: "HttpServer"

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError, ValueError):
            super().handle_one_request()
            return
        self.close_connection = True

    def handle_expect_100(self) -> bool:
        proceed = super().handle_expect_100()
        self.wfile.flush()
        return proceed

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: requests are counted, not written down."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.close_connection, self.request_version = True, self.protocol_version
        self._send(Answer(code, f'{{"error": "{code} {self.responses.get(code, ("refused",))[0]}"}}'))

    def _send(self, answer: Answer) -> None:
        body = answer.body.encode()
        if self.server.stopping:
            self.close_connection = True
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    # Bodies

    def _chunks(self) -> Iterator[int]:
        """Sizes of the chunks of a body; each is to be read before the next."""
        while True:
            line = self.rfile.readline(_MAX_LINE).partition(b";")[0].strip()
            if not line or len(line) > 15 or line.strip(b"0123456789abcdefABCDEF"):
                raise invalid_argument("Malformed chunked body")
            size = int(line, 16)
            if size == 0:
                for _ in range(_MAX_TRAILERS):
                    if not self.rfile.readline(_MAX_LINE).strip():
                        return
                raise invalid_argument("Malformed chunked body")
            yield size
            self.rfile.readline(_MAX_LINE)

    def _sizes(self) -> Iterator[int]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            yield from self._chunks()
            return
        length = self.headers.get("Content-Length", "0").strip()
        if not (length.isascii() and length.isdecimal() and len(length) < 19):
            raise invalid_argument(f"Content-Length: expected a number, got {length!r}")
        yield int(length)

    @contextlib.contextmanager
    def _body(self) -> Iterator[bytes]:
        """The body; room is kept for it until the block ends."""
        taken, body = 0, bytearray()
        deadline = time.monotonic() + self.server.config.timeout_s
        try:
            for size in self._sizes():
                if taken + size > self.server.config.max_body_bytes:
                    raise _exhausted(f"request body larger than {self.server.config.max_body_bytes} bytes")
                self.server.bodies.take(size)
                taken += size
                while size > 0:
                    part = self.rfile.read1(min(size, 2**20))
                    if not part or time.monotonic() > deadline:
                        raise ConnectionError("the body did not arrive")
                    body += part
                    size -= len(part)
            if self.headers.get("Content-Encoding", "").lower() == "gzip":
                limit = self.server.config.max_body_bytes
                self.server.bodies.take(limit)
                taken += limit
                body = bytearray(_unzipped(body, limit))
            yield bytes(body)
        finally:
            self.server.bodies.give_back(taken)

    def _respond(self) -> None:
        with self.server.busy(self.connection):
            self.connection.settimeout(self.server.config.timeout_s)
            try:
                with self._body() as body, self.server.turn():
                    answer = self.server.respond(self.command, self.path.partition("?")[0], body)
            except ServingError as error:
                self.close_connection = True  # the rest of the body has not been read
                answer = error_answer(error)
            self._send(answer)
            self.connection.settimeout(_IDLE_S)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = _respond


class HttpServer(ThreadingHTTPServer):
    """An HTTP server; its port is taken at once, and listens after `start`.

    Args:
      respond: answers requests; called by several threads.
      config: see there.

    Raises:
      OSError: the port can't be taken.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, respond: Respond, config: HttpConfig = HttpConfig()) -> None:
        self.respond, self.config = respond, config
        self.bodies = _Bodies(config.max_bodies_bytes)
        self.stopping = False
        self._turns = threading.BoundedSemaphore(config.num_threads)
        self._state = threading.Condition()
        self._connections: dict[socket.socket, bool] = {}  # whether it is in the middle of a request
        super().__init__(("0.0.0.0", config.port), _Handler, bind_and_activate=False)
        try:
            self.server_bind()
        except OSError:
            super().server_close()
            raise

    @property
    def port(self) -> int:
        return self.server_address[1]

    def server_bind(self) -> None:
        """Without the look-up of the host's name that HTTPServer makes."""
        socketserver.TCPServer.server_bind(self)

    def start(self) -> None:
        """Listens from now on."""
        self.server_activate()
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True, name="http").start()

    def stop(self, finish_s: float) -> None:
        """Takes no more connections, answers what has come, `finish_s` seconds at most."""
        self.stopping = True
        self.shutdown()
        self.server_close()
        with self._state:
            for connection, busy in self._connections.items():
                if not busy:
                    _read_no_more(connection)
            self._state.wait_for(lambda: not self._connections, finish_s)

    @contextlib.contextmanager
    def busy(self, connection: socket.socket) -> Iterator[None]:
        """Marks a connection as in the middle of a request."""
        with self._state:
            self._connections[connection] = True
        try:
            yield
        finally:
            with self._state:
                self._connections[connection] = False
                if self.stopping:
                    _read_no_more(connection)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Waits until fewer than `num_threads` requests are worked on.

        Raises:
          ServingError: RESOURCE_EXHAUSTED; that took too long.
        """
        if not self._turns.acquire(timeout=self.config.timeout_s):
            raise _exhausted("too many requests at a time")
        try:
            yield
        finally:
            self._turns.release()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        with self._state:
            if len(self._connections) >= self.config.num_threads * _CONNECTIONS_PER_THREAD:
                return False
            self._connections[request] = False
            return True

    def shutdown_request(self, request: Any) -> None:
        with self._state:
            self._connections.pop(request, None)
            self._state.notify_all()
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that went away is no news."""
