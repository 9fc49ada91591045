"""Restricts the page to its own site, by the headers Host and Origin that browsers send."""

import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    b"content-security-policy": _POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
_READING = ("GET", "HEAD")

Message = MutableMapping[str, Any]


def is_own_host(host: str) -> bool:
    """Whether a Host header is an IP address or a name of this machine. This prevents DNS rebinding."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in ("localhost", socket.gethostname().lower())
    return True


class Guard:
    """Wraps an ASGI application with access checks.

    Requests for other hosts get status 403, and so do WebSockets and POST requests from pages of other sites. Every
    response carries headers that isolate the page.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Handles an ASGI request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS.items()]
            await send(message)

        if _is_allowed(scope):
            await self._app(scope, receive, send_guarded)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send_guarded({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"forbidden: this page accepts only its own site\n"})


def _is_allowed(scope: Message) -> bool:
    given = {name: value.decode("latin-1").lower() for name, value in scope["headers"] if name in (b"host", b"origin")}
    host = given.get(b"host", "")
    if not is_own_host(host):
        return False
    acts = scope["type"] == "websocket" or scope["method"] not in _READING
    return not acts or given.get(b"origin") == f"http://{host}"
