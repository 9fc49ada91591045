"""How a client reaches a server: TLS, deadlines, and tries again while the server is away."""

import contextlib
import dataclasses
import random
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

_INT32_MAX = 2**31 - 1


class ServerError(Exception):
    """The server is down, or answered with an error; one line."""


@dataclasses.dataclass(frozen=True)
class RetryConfig:
    """Waits between tries of a call that the server is not there to answer (UNAVAILABLE).

    The k-th wait is drawn between a half and the whole of min(longest_wait_s, first_wait_s 2^k), so that clients do not
    all come back at once. gRPC's own retries end after five tries, and at once for requests above 256 kB.
    """

    retries: int = 5
    """Tries after the first; they end earlier at the call's deadline."""
    first_wait_s: float = 0.2
    longest_wait_s: float = 5.0

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ValueError(f"retries: expected 0 or more, got {self.retries}")
        if not 0 < self.first_wait_s <= self.longest_wait_s:
            raise ValueError(
                f"first_wait_s: expected more than 0 and at most longest_wait_s = {self.longest_wait_s}, "
                f"got {self.first_wait_s}"
            )

    def waits_s(self) -> Iterator[float]:
        """The waits, seconds."""
        for retry in range(self.retries):
            yield random.uniform(0.5, 1.0) * min(self.longest_wait_s, self.first_wait_s * 2.0**retry)


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


def open_channel(target: str, tls: TlsConfig | None, retry: RetryConfig) -> grpc.Channel:
    """A channel that sends and receives messages of any size and dials again as often as `retry` tries.

    Raises:
      ValueError: see `TlsConfig.credentials`.
    """
    first_ms, longest_ms = round(1e3 * retry.first_wait_s), round(1e3 * retry.longest_wait_s)
    options = [
        ("grpc.max_receive_message_length", _INT32_MAX),
        ("grpc.max_send_message_length", _INT32_MAX),
        ("grpc.initial_reconnect_backoff_ms", first_ms),
        ("grpc.min_reconnect_backoff_ms", first_ms),
        ("grpc.max_reconnect_backoff_ms", longest_ms),
    ]
    if tls is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, tls.credentials(), options=options)


def call(method: grpc.UnaryUnaryMultiCallable, request: Any, target: str, timeout_s: float, retry: RetryConfig) -> Any:
    """The answer to a call, which must be one that may be repeated.

    Args:
      method: of a stub.
      request: its message.
      target: named in errors.
      timeout_s: deadline of the call, tries and waits included, seconds.
      retry: what happens while the server is away.

    Raises:
      ServerError: the deadline passed, the tries are used up, or the server answered with another error.
    """
    deadline = time.monotonic() + timeout_s
    waits_s = retry.waits_s()
    while True:
        try:
            return method(request, timeout=max(deadline - time.monotonic(), 0.0))
        except grpc.RpcError as error:
            wait_s = next(waits_s, None) if error.code() is grpc.StatusCode.UNAVAILABLE else None
            if wait_s is None or time.monotonic() + wait_s >= deadline:
                details = " ".join((error.details() or "").split())
                raise ServerError(f"{target}: {error.code().name}: {details}") from None
        time.sleep(wait_s)
