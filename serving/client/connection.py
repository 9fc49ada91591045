"""How a client reaches a server: TLS, deadlines, a share for every pod, and tries again while the server is away."""

import contextlib
import dataclasses
import itertools
import json
import logging
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
    """The server is away, or answered with an error; one line.

    Args:
      target: HOST:PORT.
      code: of gRPC.
      details: what the server or gRPC says.
    """

    def __init__(self, target: str, code: grpc.StatusCode, details: str) -> None:
        self.target, self.code, self.details = target, code, " ".join(details.split())
        super().__init__(f"{target}: {code.name}: {self.details}")


@dataclasses.dataclass(frozen=True)
class RetryConfig:
    """Waits between tries of a call that the server is not there to answer (UNAVAILABLE).

    The k-th wait is drawn between a half and the whole of min(longest_wait_s, first_wait_s 2^k), so that clients do not
    all come back at once. gRPC's own retries end after five tries, and at once for requests above 256 kB.
    """

    retries: int | None = None
    """Tries after the first; they end earlier at the call's deadline, and there alone if this is None."""
    first_wait_s: float = 0.2
    longest_wait_s: float = 5.0

    def __post_init__(self) -> None:
        if self.retries is not None and self.retries < 0:
            raise ValueError(f"retries: expected 0 or more, got {self.retries}")
        if not 0 < self.first_wait_s <= self.longest_wait_s:
            raise ValueError(
                f"first_wait_s: expected more than 0 and at most longest_wait_s = {self.longest_wait_s}, "
                f"got {self.first_wait_s}"
            )

    def waits_s(self) -> Iterator[float]:
        """The waits, seconds."""
        longest_s = self.first_wait_s
        for _ in itertools.count() if self.retries is None else range(self.retries):
            yield random.uniform(0.5, 1.0) * longest_s
            longest_s = min(self.longest_wait_s, 2.0 * longest_s)


@dataclasses.dataclass(frozen=True)
class TlsConfig:
    """PEM files of a connection by TLS."""

    root_certs: Path | None = None
    """Certificates of the authorities trusted; None trusts gRPC's own list."""
    client_key: Path | None = None
    """The client's private key, for a server that asks for one (mutual TLS)."""
    client_cert: Path | None = None
    """The client's certificate, or chain, for that key."""

    def __post_init__(self) -> None:
        if (self.client_key is None) != (self.client_cert is None):
            given, absent = ("key", "cert") if self.client_cert is None else ("cert", "key")
            raise ValueError(f"tls_client_{absent}: expected a file beside tls_client_{given}, got none")

    def credentials(self) -> grpc.ChannelCredentials:
        """What gRPC needs of the files.

        Raises:
          ValueError: a file is absent, no PEM file, or the key does not belong to the certificate; one line.
        """
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


def _open_channel(target: str, tls: TlsConfig | None, retry: RetryConfig) -> grpc.Channel:
    """A channel for messages of any size.

    Calls go to all addresses that `target` stands for in turn; new ones are found when a connection ends, as servers
    with grpc.max_connection_age_ms see to. It dials again as often as `retry` tries, and a server that takes the
    connection has the longest of its waits to begin to speak.
    """
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
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, tls.credentials(), options=options)


def _serialized(message: Any) -> bytes:
    return message.SerializeToString()


class Connection:
    """A connection to a server, or to several behind one name, which are then asked in turn.

    Args:
      target: HOST:PORT, or any other name that gRPC resolves.
      tls: None connects without TLS.
      retry: what happens while the server is away.

    Raises:
      ValueError: see `TlsConfig.credentials`.
    """

    def __init__(self, target: str, tls: TlsConfig | None, retry: RetryConfig) -> None:
        self.target, self._retry = target, retry
        self._channel = _open_channel(target, tls, retry)
        self._away = False

    def close(self) -> None:
        """Ends the connection; calls under way are cancelled."""
        self._channel.close()

    def method(self, path: str, answer: Any) -> Callable[..., Any]:
        """A unary method.

        Args:
          path: /package.Service/Method.
          answer: class of the message that comes back.
        """
        return self._channel.unary_unary(path, _serialized, answer.FromString)

    def ask_once(self, method: Callable[..., Any], request: Any, timeout_s: float) -> Any:
        """The answer to a call that is tried once.

        Raises:
          ServerError: the server is away, or answered with an error.
        """
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise ServerError(self.target, error.code(), error.details() or "") from None

    def ask(self, method: Callable[..., Any], request: Any, timeout_s: float) -> Any:
        """The answer to a call, which must be one that may be repeated. The first wait for a server that is away is
        logged as a warning, those after it are not until it has answered.

        Args:
          method: of `method`.
          request: its message.
          timeout_s: deadline of the call, tries and waits included, seconds.

        Raises:
          ServerError: the deadline passed, the tries are used up, or the server answered with another error.
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
