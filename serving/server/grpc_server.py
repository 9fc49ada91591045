"""PredictionService, ModelService and Health over gRPC."""

import dataclasses
import os
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server.core import ServerCore
from serving.server.errors import invalid_argument
from serving.server.health import HEALTH_SERVICE, health_handler
from serving.server.unary import unary_handler

_INT32_MAX = 2**31 - 1
_WAITING_PER_THREAD = 8
_REFUSING_S = 0.3  # gRPC cancels calls that arrive just as it stops; by then no client should send any


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


def _prediction_service(core: ServerCore) -> grpc.GenericRpcHandler:
    def recorded(api: str, method: Callable[[Any], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            with core.recorded(request.model_spec.name, api, "GRPC"):
                return method(request)

        return call

    methods = {
        "Predict": unary_handler(predict_pb2.PredictRequest, recorded("Predict", core.predict)),
        "Classify": unary_handler(classification_pb2.ClassificationRequest, recorded("Classify", core.classify)),
        "Regress": unary_handler(regression_pb2.RegressionRequest, recorded("Regress", core.regress)),
        "MultiInference": unary_handler(
            inference_pb2.MultiInferenceRequest, lambda request, context: core.multi_inference(request)
        ),
        "GetModelMetadata": unary_handler(
            get_model_metadata_pb2.GetModelMetadataRequest, lambda request, context: core.metadata(request)
        ),
    }
    return grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", methods)


def _model_service(core: ServerCore) -> grpc.GenericRpcHandler:
    methods = {
        "GetModelStatus": unary_handler(
            get_model_status_pb2.GetModelStatusRequest, lambda request, context: core.status(request)
        ),
        "HandleReloadConfigRequest": unary_handler(
            model_management_pb2.ReloadConfigRequest,
            lambda request, context: core.reload(request, lambda: not context.is_active()),
        ),
    }
    return grpc.method_handlers_generic_handler("tensorflow.serving.ModelService", methods)


class _RefusesOnceStopping(grpc.ServerInterceptor):
    """Calls that arrive after `stop` are UNAVAILABLE; those accepted before go on, and health still answers."""

    def __init__(self, serving: Callable[[], bool]) -> None:
        self._serving = serving

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> grpc.RpcMethodHandler | None:
        if self._serving() or handler_call_details.method.startswith(f"/{HEALTH_SERVICE}/"):
            return continuation(handler_call_details)

        def refuse(_: bytes, context: grpc.ServicerContext) -> Any:
            return context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")

        return grpc.unary_unary_rpc_method_handler(refuse)


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
            interceptors=[_RefusesOnceStopping(lambda: self._serving)],
            maximum_concurrent_rpcs=config.max_threads * (1 + _WAITING_PER_THREAD),
        )
        health = health_handler(lambda: self._serving)
        self._server.add_generic_rpc_handlers((_prediction_service(core), _model_service(core), health))
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
        time.sleep(_REFUSING_S)
        self._server.stop(finish_s).wait()
