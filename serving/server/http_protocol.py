"""The adapter to uvicorn's HTTP/1.1 connection: stricter framing, a bound on connections, and timeouts.

`StrictConnection` uses h11's public interface only. uvicorn documents that its option `http` takes a protocol class,
but not how to extend its own: `TimedProtocol` therefore uses these undocumented parts of H11Protocol. All code that
depends on them is in this module, and tests/serving/test_adapters.py fails if a release of uvicorn changes them.

- attributes `conn` (the h11.Connection), `connections` (all open ones), `loop`, `transport` and `config.app`;
- `send_400_response(msg)`, called for a request that h11 rejects;
- `on_response_complete()`, called after the last byte of a response;
- the callbacks of asyncio.Protocol, which H11Protocol extends.
"""

import asyncio
import re
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""Time for the headers of a request, seconds, unless the limit of a whole request is shorter."""
IDLE_S = 60.0
"""Time that a client may leave a connection idle, or an answer unread, seconds."""
_CONNECTIONS_PER_THREAD = 32
_FRAMING = re.compile(rb"^(?:content-length|transfer-encoding)[ \t]*:([^\n]*)", re.I | re.M)
_END_OF_HEAD = re.compile(rb"\n\r?\n")


class StrictConnection(h11.Connection):
    """Rejects a request whose end is given more than once, which permits request smuggling.

    h11 itself accepts a repeated Content-Length, and one beside `Transfer-Encoding: chunked`.
    """

    def next_event(self) -> Any:
        head = self.trailing_data[0] if self.their_state is h11.IDLE else b""
        event = super().next_event()
        if isinstance(event, h11.Request):
            framing = _FRAMING.findall(_END_OF_HEAD.split(head, 1)[0])
            if len(framing) > 1 or any(b"," in value for value in framing):
                raise h11.RemoteProtocolError("the body's end is given more than once")
        return event


class TimedProtocol(H11Protocol):
    """uvicorn's connection with a bound on their number and with timeouts for headers and for unread answers.

    The application is an `HttpServer`, whose `config` holds the limits.
    """

    def __init__(self, config: uvicorn.Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.conn = StrictConnection(h11.SERVER)
        self._limits = config.app.config  # type: ignore[union-attr]
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def _set_timeout(self, name: str, seconds: float | None) -> None:
        """Aborts the connection after `seconds`, unless that timer already runs; None stops the timer."""
        if seconds is None and name in self._timers:
            self._timers.pop(name).cancel()
        elif seconds is not None and name not in self._timers:
            self._timers[name] = self.loop.call_later(seconds, self.transport.abort)

    def _update_head_timeout(self) -> None:
        waiting = self.conn.their_state is h11.IDLE
        self._set_timeout("head", min(HEAD_S, self._limits.timeout_s) if waiting else None)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.num_threads * _CONNECTIONS_PER_THREAD:
            transport.abort()
        self._update_head_timeout()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._update_head_timeout()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.trailing_data[0]:  # the next request has begun
            self._update_head_timeout()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._set_timeout("unread answer", IDLE_S)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._set_timeout("unread answer", None)

    def connection_lost(self, exc: Exception | None) -> None:
        for name in list(self._timers):
            self._set_timeout(name, None)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # otherwise an answer is being sent
            super().send_400_response(msg)
        self.transport.close()
