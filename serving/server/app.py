"""The model server: builds models, gRPC and REST from the flags, serves, and shuts down gracefully."""

import argparse
import ctypes
import gc
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from serving.server.batching import BatchingConfig, BatchScheduler, batching_config
from serving.server.calls import CallGate, EventLoopThread, ServingError, invalid_argument
from serving.server.config import ModelServerConfig, single_model
from serving.server.core import ServerCore
from serving.server.grpc_server import GrpcConfig, GrpcServer, parse_channel_arguments, read_credentials
from serving.server.http_server import HttpConfig, HttpServer
from serving.server.manager import ModelManager
from serving.server.metrics import Metrics
from serving.server.rest import RestApi
from serving.server.servable import Servable, load_servable
from serving.server.text_configs import read_text_proto
from serving.server.versions import Load, ManagerConfig
from serving.server.warmup import replay_warmup

_log = logging.getLogger(__name__)
_DRAIN_TIMEOUT_S = 60.0
_MAX_THREADS = 128
_METRICS_PATH = "/monitoring/prometheus/metrics"


def _model_config(flags: argparse.Namespace) -> ModelServerConfig:
    if flags.model_config_file:
        return read_text_proto(Path(flags.model_config_file), "ModelServerConfig")
    if not flags.model_base_path:
        raise invalid_argument("--model_base_path: expected a folder of versions, or --model_config_file, got neither")
    if not flags.model_base_path.startswith("/"):
        _log.warning("--model_base_path: TF Serving accepts only absolute paths, got %s", flags.model_base_path)
    path = Path(flags.model_base_path)
    if not path.is_dir():
        raise invalid_argument(f"--model_base_path: expected a folder of versions, got {path}")
    return single_model(flags.model_name, path)


def _manager_config(flags: argparse.Namespace) -> ManagerConfig:
    return ManagerConfig(
        poll_interval_s=flags.file_system_poll_wait_seconds,
        max_retries=flags.max_num_load_retries,
        retry_interval_s=max(0.0, flags.load_retry_interval_micros / 1e6),
        allow_labels_for_unavailable=flags.allow_version_labels_for_unavailable_models,
    )


def _batching_config(flags: argparse.Namespace) -> BatchingConfig | None:
    file = flags.batching_parameters_file
    if not flags.enable_batching:
        if file:
            raise invalid_argument("--batching_parameters_file is set without setting --enable_batching to true.")
        return None
    return batching_config(read_text_proto(Path(file), "BatchingParameters")) if file else BatchingConfig()


def _grpc_config(flags: argparse.Namespace, batching: BatchingConfig | None) -> GrpcConfig:
    secure = flags.ssl_config_file
    # A request occupies a thread while its batch fills: TF Serving's guide recommends threads for two batches.
    threads = max(GrpcConfig.max_threads, min(_MAX_THREADS, 2 * batching.execution_size) if batching else 0)
    return GrpcConfig(
        port=flags.port,
        socket_path=flags.grpc_socket_path,
        max_threads=flags.grpc_max_threads or threads,
        channel_arguments=parse_channel_arguments(flags.grpc_channel_arguments),
        credentials=read_credentials(read_text_proto(Path(secure), "SSLConfig")) if secure else None,
        health=flags.enable_grpc_healthcheck_service,
    )


def _http_config(flags: argparse.Namespace) -> HttpConfig | None:
    if flags.rest_api_port == 0:
        return None
    if flags.rest_api_port == flags.port:
        raise invalid_argument(f"--rest_api_port: expected another port than --port, got {flags.port}")
    return HttpConfig(
        port=max(0, flags.rest_api_port),
        num_threads=flags.rest_api_num_threads or HttpConfig.num_threads,
        timeout_s=flags.rest_api_timeout_in_ms / 1e3,
    )


def _metrics_path(flags: argparse.Namespace) -> str:
    if not flags.monitoring_config_file:
        return ""
    prometheus = read_text_proto(Path(flags.monitoring_config_file), "MonitoringConfig").prometheus_config
    return (prometheus.path or _METRICS_PATH) if prometheus.enable else ""


def _loader(flags: argparse.Namespace, scheduler: BatchScheduler | None) -> Load:
    def load(directory: Path, version: int) -> Servable:
        servable = load_servable(directory, version)
        if flags.enable_model_warmup:
            _log.info("replayed %d warm-up requests of %s", replay_warmup(servable, directory), directory)
        _return_free_memory()
        return servable if scheduler is None else scheduler.batching(servable)

    return load


def _return_free_memory() -> None:
    """Gives back to the system what the load has freed, which is several times as large as the model."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc
    if trim is not None:
        trim(0)


class ModelServer:
    """A model server. Raises ServingError for a wrong flag, or a file that it names.

    Args:
      flags: as parsed by `serving.model_server.flag_parser`.
      announce: called for each version that starts to serve, with model name, version, gRPC port and REST port (None
        without REST).
    """

    def __init__(self, flags: argparse.Namespace, announce: Callable[[str, int, int, int | None], None]) -> None:
        self._flags, self._announce = flags, announce
        self._config, batching, metrics_path = _model_config(flags), _batching_config(flags), _metrics_path(flags)
        self._grpc_config, self._http_config = _grpc_config(flags, batching), _http_config(flags)
        metrics, self._loop, self._gate = Metrics(), EventLoopThread(), CallGate()
        self._grpc: GrpcServer | None = None
        self._http: HttpServer | None = None
        self._announcing, self._announced = threading.Lock(), set[tuple[str, int]]()
        scheduler = BatchScheduler(batching, metrics) if batching is not None else None
        self._manager = ModelManager(_manager_config(flags), _loader(flags, scheduler), self._publish)
        self._core = ServerCore(self._manager, metrics)
        self._rest = RestApi(self._core, metrics_path)

    def _publish(self) -> None:
        """Announces versions that have started to serve and updates health, once the ports are open."""
        with self._announcing:
            if self._grpc is None:
                return
            available = self._manager.available()
            self._grpc.update_health(available)
            before = self._announced
            self._announced = {(name, number) for name in available for number in available[name]}
            for name, number in sorted(self._announced - before):
                self._announce(name, number, self._grpc.port, self._http.port if self._http is not None else None)

    def serve(self, stop: threading.Event) -> bool:
        """Loads the models, serves until `stop` is set, then finishes the accepted calls; returns whether it did.

        Raises: ServingError: the configuration is invalid or a model does not load. RuntimeError: a port is not
        available.
        """
        threading.Thread(target=self._stop_manager, args=(stop,), daemon=True).start()
        try:
            self._manager.reload(self._config)
            self._open()
        except ServingError:
            if stop.is_set():
                return True
            raise
        self._watch_config(stop)
        return self._finish()

    def _stop_manager(self, stop: threading.Event) -> None:
        stop.wait()
        self._manager.stop()

    def _open(self) -> None:
        """Opens the ports. Models load first: a client gives up on a server that connects but does not answer."""
        try:
            if self._http_config is not None:
                self._http = HttpServer(self._rest, self._http_config, self._loop, self._gate)
            self._grpc = GrpcServer(self._core, self._grpc_config, self._loop, self._gate)
        except OSError as error:
            raise RuntimeError(f"--rest_api_port: {self._flags.rest_api_port}: {error.strerror}") from None
        except RuntimeError as error:
            raise RuntimeError(f"--port: {error}") from None
        self._publish()

    def _finish(self) -> bool:
        assert self._grpc is not None
        self._loop.run(self._grpc.stop_health())
        drained = self._loop.run(self._gate.drain(_DRAIN_TIMEOUT_S))
        self._grpc.stop()
        if self._http is not None:
            self._http.stop()
        self._loop.stop()
        if not drained:
            _log.error("stopped with unfinished calls")
        return drained

    def _watch_config(self, stop: threading.Event) -> None:
        """Applies changes to --model_config_file until `stop` is set."""
        interval_s = self._flags.model_config_file_poll_wait_seconds
        if not self._flags.model_config_file or interval_s <= 0:
            stop.wait()
        while not stop.wait(interval_s):
            try:
                config = _model_config(self._flags)
                if config != self._config:
                    self._manager.reload(config)
                    self._config = config
            except ServingError as error:
                _log.error("--model_config_file: %s", error)
