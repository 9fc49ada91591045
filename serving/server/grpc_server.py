"""PredictionService, ModelService and Health over gRPC."""

import dataclasses
import functools
import logging
import os
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.server.core import ServerCore
from serving.server.errors import as_serving_error, invalid_argument
from serving.server.health import health_handler

_log = logging.getLogger(__name__)
_INT32_MAX = 2**31 - 1
_WAITING_PER_THREAD = 8


@dataclasses.dataclass(frozen=True)
class GrpcConfig:
    """Where and how gRPC is spoken."""

    port: int | None = 8500
    """TCP port on all addresses; 0 takes a free one, None listens on none."""
    socket_path: str = ""
    """Path of a UNIX socket to listen on, if any."""
    max_threads: int = max(16, 4 * (os.cpu_count() or 1))
    """Requests worked on at a time; eight times as many may wait, more are answered RESOURCE_EXHAUSTED."""
    channel_arguments: tuple[tuple[str, int | str], ...] = ()
    """gRPC's own, such as grpc.max_receive_message_length in bytes (a larger message is RESOURCE_EXHAUSTED)."""
    credentials: grpc.ServerCredentials | None = None


def parse_channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    """KEY=VALUE pairs with commas between; a value that is an integer is one.

    Raises:
      ServingError: INVALID_ARGUMENT; something else came.
    """
    arguments: list[tuple[str, int | str]] = []
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise invalid_argument(f"--grpc_channel_arguments: expected KEY=VALUE,..., got {pair!r}")
        arguments.append((key, int(value) if value.lstrip("-").isdecimal() else value))
    return tuple(arguments)


def read_credentials(ssl: Any) -> grpc.ServerCredentials:
    """Credentials of an SSLConfig message: PEM texts, and whether clients must show a certificate.

    Raises:
      ServingError: INVALID_ARGUMENT; key or certificate are missing, or nobody vouches for clients.
    """
    for field in ("server_key", "server_cert"):
        if "-----BEGIN" not in getattr(ssl, field):
            raise invalid_argument(f"--ssl_config_file: {field}: expected the text of a PEM file")
    if ssl.client_verify and not ssl.custom_ca:
        raise invalid_argument("--ssl_config_file: custom_ca: expected the text of a PEM file with client_verify")
    pair = (ssl.server_key.encode(), ssl.server_cert.encode())
    return grpc.ssl_server_credentials([pair], ssl.custom_ca.encode() or None, ssl.client_verify)


def _answered(call: Callable[[], Any], context: grpc.ServicerContext) -> Any:
    try:
        return call()
    except Exception as error:  # a request must not take the server down, whatever it triggers
        known = as_serving_error(error)
        if known is not error:
            _log.exception("request failed")
        return context.abort(known.code, known.details)


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, core: ServerCore) -> None:
        self._core = core

    def _recorded(self, api: str, method: Callable[[Any], Any], request: Any, context: grpc.ServicerContext) -> Any:
        def call() -> Any:
            with self._core.recorded(request.model_spec.name, api, "GRPC"):
                return method(request)

        return _answered(call, context)

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._recorded("Predict", self._core.predict, request, context)

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._recorded("Classify", self._core.classify, request, context)

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._recorded("Regress", self._core.regress, request, context)

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _answered(functools.partial(self._core.multi_inference, request), context)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _answered(functools.partial(self._core.metadata, request), context)


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, core: ServerCore) -> None:
        self._core = core

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _answered(functools.partial(self._core.status, request), context)

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _answered(lambda: self._core.reload(request, lambda: not context.is_active()), context)


class GrpcServer:
    """A gRPC server; its ports are taken at once, and answer after `start`.

    Args:
      core: answers requests.
      config: see there.

    Raises:
      RuntimeError: a port or socket can't be taken.
    """

    def __init__(self, core: ServerCore, config: GrpcConfig = GrpcConfig()) -> None:
        options: dict[str, int | str] = {
            "grpc.max_receive_message_length": _INT32_MAX,
            "grpc.max_send_message_length": _INT32_MAX,
            "grpc.so_reuseport": 0,
        }
        options.update(config.channel_arguments)
        self._serving = False
        self._server = grpc.server(
            futures.ThreadPoolExecutor(config.max_threads, thread_name_prefix="grpc"),
            options=list(options.items()),
            maximum_concurrent_rpcs=config.max_threads * (1 + _WAITING_PER_THREAD),
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_PredictionService(core), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(core), self._server)
        self._server.add_generic_rpc_handlers((health_handler(lambda: self._serving),))
        self.port = self._listen(f"0.0.0.0:{config.port}", config) if config.port is not None else None
        if config.socket_path:
            self._listen(f"unix:{Path(config.socket_path)}", config)

    def _listen(self, address: str, config: GrpcConfig) -> int:
        if config.credentials is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, config.credentials)

    def start(self) -> None:
        """Answers from now on."""
        self._serving = True
        self._server.start()

    def stop(self, finish_s: float) -> None:
        """Refuses new requests, waits for the accepted ones, `finish_s` seconds at most."""
        self._serving = False
        self._server.stop(finish_s).wait()
