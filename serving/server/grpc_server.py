"""PredictionService, ModelService and Health over gRPC."""

import asyncio
import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import get_model_metadata_pb2 as metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2 as status_pb2
from tensorflow_serving.apis import model_management_pb2 as reload_pb2
from tensorflow_serving.apis import predict_pb2

from serving.server.calls import Call, CallGate, EventLoopThread, ServingError, Workers, invalid_argument
from serving.server.core import ServerCore

_INT32_MAX = 2**31 - 1
_WAITING_PER_THREAD = 8
_RELOADS_WAITING = 3
_SHUTDOWN_S = 5.0
_STATUSES = {True: "SERVING", False: "NOT_SERVING", None: "SERVICE_UNKNOWN"}
_HEALTH = {serves: health_pb2.HealthCheckResponse(status=name) for serves, name in _STATUSES.items()}
_SERVICES = ("", *(f"{p}{name}" for p in ("", "tensorflow.serving.") for name in ("PredictionService", "ModelService")))


@dataclasses.dataclass(frozen=True)
class GrpcConfig:
    """Addresses, limits and credentials of the gRPC server."""

    port: int = 8500  # TCP port on all addresses; 0 takes a free one
    socket_path: str = ""  # of an additional UNIX socket; empty for none
    max_threads: int = max(16, 4 * (os.cpu_count() or 1))
    """Requests that run at a time. Eight times as many may wait; further ones are answered RESOURCE_EXHAUSTED."""
    channel_arguments: tuple[tuple[str, int | str], ...] = ()  # such as grpc.max_receive_message_length, bytes
    credentials: grpc.ServerCredentials | None = None  # for TLS; None serves without
    health: bool = False  # whether to offer grpc.health.v1.Health (--enable_grpc_healthcheck_service)


def parse_channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    """Parses KEY=VALUE,...; integers become int. Raises: ServingError: INVALID_ARGUMENT for other text."""
    arguments: list[tuple[str, int | str]] = []
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise invalid_argument(f"--grpc_channel_arguments: expected KEY=VALUE,..., got {pair!r}")
        arguments.append((key, int(value) if value.lstrip("-").isdecimal() else value))
    return tuple(arguments)


def read_credentials(ssl: Any) -> grpc.ServerCredentials:
    """Makes credentials from an SSLConfig message, whose fields hold the text of PEM files. Raises ServingError."""
    for field in ("server_key", "server_cert"):
        if "-----BEGIN" not in getattr(ssl, field):
            raise invalid_argument(f"--ssl_config_file: {field}: expected the text of a PEM file")
    if ssl.client_verify and not ssl.custom_ca:
        raise invalid_argument("--ssl_config_file: custom_ca: expected the text of a PEM file with client_verify")
    pair = (ssl.server_key.encode(), ssl.server_cert.encode())
    return grpc.ssl_server_credentials([pair], ssl.custom_ca.encode() or None, ssl.client_verify)


class _Health(health_pb2_grpc.HealthServicer):
    """The health service, for the event loop only. Unlike grpcio's, a watcher that does not read blocks nobody."""

    def __init__(self) -> None:
        self._serves: dict[str, bool] = {}
        self._changed, self._final, self._ended = asyncio.Event(), False, False

    async def set_status(self, serves: Mapping[str, bool], final: bool = False, ended: bool = False) -> None:
        """Sets which services serve, by name; known ones that are left out do not.

        After `final`, later changes are ignored. With `ended`, Watch calls end.
        """
        if not self._final:
            self._serves, self._final = {**dict.fromkeys(self._serves, False), **serves}, final
        self._ended = ended
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        if request.service not in self._serves:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return _HEALTH[self._serves[request.service]]

    async def Watch(self, request: Any, context: grpc.aio.ServicerContext) -> None:
        sent = None
        while not self._ended:
            changed, answer = self._changed, _HEALTH[self._serves.get(request.service)]
            if answer is not sent:
                await context.write(answer)
            sent = answer
            await changed.wait()


class GrpcServer:
    """The gRPC server. It accepts calls on `port` as soon as it is constructed.

    `gate` counts calls, except health checks, and refuses them during shutdown. Raises RuntimeError if a port or socket
    is not available.
    """

    def __init__(self, core: ServerCore, config: GrpcConfig, loop: EventLoopThread, gate: CallGate) -> None:
        self._core, self._config, self._loop, self._gate = core, config, loop, gate
        self.workers = Workers(config.max_threads, _WAITING_PER_THREAD * config.max_threads, "grpc")
        self._reloads = Workers(1, _RELOADS_WAITING, "reload")  # a reload waits for models to load
        self._loop.run(self._start())

    async def _start(self) -> None:
        lengths = [(f"grpc.max_{way}_message_length", _INT32_MAX) for way in ("receive", "send")]
        options = dict([*lengths, ("grpc.so_reuseport", 0), *self._config.channel_arguments])
        self._server = grpc.aio.server(options=list(options.items()))
        self._server.add_generic_rpc_handlers(self._services())
        self._health = _Health()
        await self._health.set_status(dict.fromkeys(_SERVICES, False))
        if self._config.health:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        listen = self._server.add_insecure_port
        if self._config.credentials is not None:
            listen = functools.partial(self._server.add_secure_port, server_credentials=self._config.credentials)
        self.port = listen(f"0.0.0.0:{self._config.port}")
        if self._config.socket_path:
            listen(f"unix:{Path(self._config.socket_path)}")
        await self._server.start()

    def _services(self) -> list[grpc.GenericRpcHandler]:
        core, workers = self._core, self.workers
        methods: dict[str, tuple[Any, Callable[[Any, Call], Any], Workers]] = {
            "PredictionService/Predict": (predict_pb2.PredictRequest, core.predict, workers),
            "PredictionService/GetModelMetadata": (metadata_pb2.GetModelMetadataRequest, core.metadata, workers),
            "ModelService/GetModelStatus": (status_pb2.GetModelStatusRequest, core.status, workers),
            "ModelService/HandleReloadConfigRequest": (reload_pb2.ReloadConfigRequest, core.reload, self._reloads),
        }
        return [
            grpc.method_handlers_generic_handler(f"tensorflow.serving.{service}", {name: self._handler(name, *how)})
            for (service, _, name), how in ((path.partition("/"), how) for path, how in methods.items())
        ]

    def _handler(
        self, api: str, message: Any, method: Callable[[Any, Call], Any], workers: Workers
    ) -> grpc.RpcMethodHandler:
        """Makes the handler of a unary method. Workers get complete messages only: a slow client occupies no thread."""

        def work(body: bytes, call: Call) -> bytes:
            try:
                request = message.FromString(body)
            except DecodeError:
                raise ServingError(grpc.StatusCode.INTERNAL, "Failed to parse the request") from None
            name = request.model_spec.name if "model_spec" in message.DESCRIPTOR.fields_by_name else ""
            with self._core.recorded(call, name, api, "GRPC"):
                return method(request, call).SerializeToString()

        async def handle(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
            call = Call(context.time_remaining())
            try:
                with self._core.counted(call), self._gate.admit():
                    return await workers.run(call, lambda: work(body, call))
            except ServingError as error:
                return await context.abort(error.code, error.details)

        return grpc.unary_unary_rpc_method_handler(handle)

    def update_health(self, available: Mapping[str, Sequence[int]]) -> None:
        """Updates health from the serving versions by model; the server itself serves if every model has one."""
        everything = bool(available) and all(available.values())
        serves = {name: bool(versions) for name, versions in available.items()} | dict.fromkeys(_SERVICES, everything)
        self._loop.submit(self._health.set_status(serves))

    async def stop_health(self) -> None:
        """Makes health report NOT_SERVING from now on."""
        await self._health.set_status({}, final=True)

    def stop(self, grace_s: float = _SHUTDOWN_S) -> None:
        """Closes the ports, ends Watch calls, and cancels other calls after `grace_s` seconds."""
        self._loop.run(self._health.set_status({}, final=True, ended=True))
        self._loop.run(self._server.stop(grace_s))
