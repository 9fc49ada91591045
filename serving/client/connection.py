"""Connection to a server: TLS, deadlines, load balancing over several servers, and retries while it is unavailable."""

import contextlib
import dataclasses
import itertools
import json
import logging
import operator
import random
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc

_INT32_MAX = 2**31 - 1
_LOG = logging.getLogger("serving.client")
_ROUND_ROBIN = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


class ServerError(Exception):
    """The server at `target` is unavailable, or answered with an error: gRPC status code and message; one line."""

    def __init__(self, target: str, code: grpc.StatusCode, details: str) -> None:
        self.target, self.code, self.details = target, code, " ".join(details.split())
        super().__init__(f"{target}: {code.name}: {self.details}")


@dataclasses.dataclass(frozen=True)
class RetryConfig:
    """Retries of a call while the server is UNAVAILABLE.

    The k-th wait is drawn uniformly between half and all of min(longest_wait_s, first_wait_s 2^k), so that clients do
    not return all at once. gRPC's own retries end after five attempts, and do not cover requests above 256 kB.
    """

    retries: int | None = None
    """Attempts after the first. None retries until the call's deadline, which ends retries in any case."""
    first_wait_s: float = 0.2
    longest_wait_s: float = 5.0

    def __post_init__(self) -> None:
        if self.retries is not None and self.retries < 0:
            raise ValueError(f"retries: expected 0 or more, got {self.retries}")
        if not 0 < self.first_wait_s <= self.longest_wait_s:
            expected = f"more than 0 and at most longest_wait_s = {self.longest_wait_s}"
            raise ValueError(f"first_wait_s: expected {expected}, got {self.first_wait_s}")

    def waits_s(self) -> Iterator[float]:
        """The waits, seconds."""
        longest_s = self.first_wait_s
        for _ in itertools.count() if self.retries is None else range(self.retries):
            yield random.uniform(0.5, 1.0) * longest_s
            longest_s = min(self.longest_wait_s, 2.0 * longest_s)


@dataclasses.dataclass(frozen=True)
class TlsConfig:
    """PEM files of a TLS connection."""

    root_certs: Path | None = None
    """Certificates of the trusted authorities; None selects gRPC's own list."""
    client_key: Path | None = None
    """The client's private key, for servers that require one (mutual TLS)."""
    client_cert: Path | None = None
    """The client's certificate or chain for that key."""

    def __post_init__(self) -> None:
        if (self.client_key is None) != (self.client_cert is None):
            given, absent = ("key", "cert") if self.client_cert is None else ("cert", "key")
            raise ValueError(f"tls_client_{absent}: expected a file beside tls_client_{given}, got none")

    def credentials(self) -> grpc.ChannelCredentials:
        """The files as gRPC credentials. Raises ValueError, one line, if a file is absent or wrong."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.root_certs is not None:
            with _naming("tls_root_certs: expected a PEM file of certificates", self.root_certs):
                context.load_verify_locations(self.root_certs)
        if self.client_cert is not None and self.client_key is not None:
            with _naming("tls_client_cert: expected PEM files of a certificate and its key", self.client_cert):
                context.load_cert_chain(self.client_cert, self.client_key, password=_no_password)
        files = (self.root_certs, self.client_key, self.client_cert)
        return grpc.ssl_channel_credentials(*(None if file is None else file.read_bytes() for file in files))


def _no_password() -> str:
    raise ValueError("the key is encrypted")


@contextlib.contextmanager
def _naming(expected: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise ValueError(f"{expected}, got {path}: {error}") from None


class Connection:
    """A connection to a server, or to several behind one name, which are then called in turn.

    `target` is HOST:PORT, or any other name that gRPC resolves; `tls` None connects without TLS.
    """

    def __init__(self, target: str, tls: TlsConfig | None, retry: RetryConfig) -> None:
        self.target, self._retry, self._away = target, retry, False
        # gRPC looks for new addresses when a connection ends, which servers with grpc.max_connection_age_ms cause
        # regularly. A server that accepts the connection has `longest_wait_s` to send its first bytes.
        first_ms, longest_ms = round(1e3 * retry.first_wait_s), round(1e3 * retry.longest_wait_s)
        options = [
            ("grpc.max_receive_message_length", _INT32_MAX),
            ("grpc.max_send_message_length", _INT32_MAX),
            ("grpc.initial_reconnect_backoff_ms", first_ms),
            ("grpc.min_reconnect_backoff_ms", longest_ms),
            ("grpc.max_reconnect_backoff_ms", longest_ms),
            ("grpc.service_config", _ROUND_ROBIN),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.dns_min_time_between_resolutions_ms", longest_ms),
        ]
        if tls is None:
            self._channel = grpc.insecure_channel(target, options=options)
        else:
            self._channel = grpc.secure_channel(target, tls.credentials(), options=options)

    def close(self) -> None:
        """Closes the connection and cancels running calls."""
        self._channel.close()

    def method(self, path: str, answer: Any) -> Callable[..., Any]:
        """A unary method, given /package.Service/Method and the class of the response message."""
        return self._channel.unary_unary(path, operator.methodcaller("SerializeToString"), answer.FromString)

    def ask_once(self, method: Callable[..., Any], request: Any, timeout_s: float) -> Any:
        """Calls once. Raises ServerError if the server is unavailable or answers with an error."""
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise ServerError(self.target, error.code(), error.details() or "") from None

    def ask(self, method: Callable[..., Any], request: Any, timeout_s: float) -> Any:
        """Calls until there is an answer, within `timeout_s` seconds, waits included. The call must be idempotent.

        The first wait for an unavailable server is logged as a warning. Further waits are silent until it has answered.
        Raises ServerError if the deadline passed, the retries are used up, or the server answered with another error.
        """
        deadline = time.monotonic() + timeout_s
        waits_s = self._retry.waits_s()
        while True:
            try:
                answer = self.ask_once(method, request, max(deadline - time.monotonic(), 0.0))
            except ServerError as error:
                wait_s = next(waits_s, None) if error.code is grpc.StatusCode.UNAVAILABLE else None
                if wait_s is None or time.monotonic() + wait_s >= deadline:
                    raise
                if not self._away:
                    _LOG.warning("waiting for %s: %s", self.target, error.details)
                self._away = True
            else:
                self._away = False
                return answer
            time.sleep(wait_s)
