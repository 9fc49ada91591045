"""A model server put together from flags: models, gRPC, REST, and an end that finishes what it began."""

import argparse
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from serving.server.batching import BatchingServable, BatchScheduler
from serving.server.batching_config import BatchingConfig, batching_config
from serving.server.config import ModelServerConfig, single_model
from serving.server.core import ServerCore
from serving.server.errors import ServingError, invalid_argument
from serving.server.grpc_server import GrpcConfig, GrpcServer, parse_channel_arguments, read_credentials
from serving.server.http_server import HttpConfig, HttpServer
from serving.server.manager import ManagerConfig, ModelManager
from serving.server.metrics import Metrics
from serving.server.rest import RestApi
from serving.server.servable import Servable
from serving.server.text_configs import read_text_proto
from serving.server.versions import Load, Loaded, RetryConfig
from serving.server.warmup import replay_warmup

_log = logging.getLogger(__name__)
_FINISH_S = 60.0
_MAX_THREADS = 128
_METRICS_PATH = "/monitoring/prometheus/metrics"


def _model_config(flags: argparse.Namespace) -> ModelServerConfig:
    if flags.model_config_file:
        return read_text_proto(Path(flags.model_config_file), "ModelServerConfig")
    if not flags.model_base_path:
        raise invalid_argument("--model_base_path: expected a folder of versions, or --model_config_file, got neither")
    if not flags.model_base_path.startswith("/"):
        _log.warning("--model_base_path: TF Serving takes absolute paths only, got %s", flags.model_base_path)
    path = Path(flags.model_base_path)
    if not path.is_dir():
        raise invalid_argument(f"--model_base_path: expected a folder of versions, got {path}")
    return single_model(flags.model_name, path)


def _manager_config(flags: argparse.Namespace) -> ManagerConfig:
    return ManagerConfig(
        poll_interval_s=flags.file_system_poll_wait_seconds,
        retries=RetryConfig(flags.max_num_load_retries, max(0.0, flags.load_retry_interval_micros / 1e6)),
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
    # A request holds a thread while its batch fills: two batches' worth, as TF Serving's guide advises.
    threads = max(GrpcConfig.max_threads, min(_MAX_THREADS, 2 * batching.execution_size) if batching else 0)
    return GrpcConfig(
        port=flags.port,
        socket_path=flags.grpc_socket_path,
        max_threads=flags.grpc_max_threads or threads,
        channel_arguments=parse_channel_arguments(flags.grpc_channel_arguments),
        credentials=read_credentials(read_text_proto(Path(secure), "SSLConfig")) if secure else None,
    )


def _http_server(flags: argparse.Namespace, core: ServerCore) -> HttpServer | None:
    if flags.rest_api_port == 0:
        return None
    if flags.rest_api_port == flags.port:
        raise invalid_argument(f"--rest_api_port: expected another port than --port, got {flags.port}")
    path = ""
    if flags.monitoring_config_file:
        prometheus = read_text_proto(Path(flags.monitoring_config_file), "MonitoringConfig").prometheus_config
        path = (prometheus.path or _METRICS_PATH) if prometheus.enable else ""
    config = HttpConfig(
        port=flags.rest_api_port,
        num_threads=flags.rest_api_num_threads or HttpConfig.num_threads,
        timeout_s=flags.rest_api_timeout_in_ms / 1e3,
    )
    try:
        return HttpServer(RestApi(core, path).answer, config)
    except OSError as error:
        raise RuntimeError(f"--rest_api_port: {config.port}: {error.strerror}") from None


def _loader(flags: argparse.Namespace, scheduler: BatchScheduler | None) -> Load:
    def load(directory: Path, version: int) -> Loaded:
        servable = Servable(directory, version)
        if flags.enable_model_warmup:
            try:
                count = replay_warmup(servable, directory)
            except BaseException:
                servable.close()
                raise
            _log.info("replayed %d warm-up requests of %s", count, directory)
        return servable if scheduler is None else BatchingServable(servable, scheduler)

    return load


class ModelServer:
    """The server that flags describe; its ports are taken at once.

    Args:
      flags: of `flag_parser`.
      announce: told of every version that serves: name, version, gRPC port.

    Raises:
      ServingError: a flag or a file it names is wrong. RuntimeError: a port can't be taken.
    """

    def __init__(self, flags: argparse.Namespace, announce: Callable[[str, int, int | None], None]) -> None:
        self._flags, self._announce = flags, announce
        self._config = _model_config(flags)
        self.metrics = Metrics()
        self._announcing, self._serving = threading.Lock(), False
        self._waiting: list[tuple[str, int]] = []
        batching = _batching_config(flags)
        scheduler = BatchScheduler(batching, self.metrics) if batching is not None else None
        self.manager = ModelManager(_manager_config(flags), _loader(flags, scheduler), self._available)
        self.core = ServerCore(self.manager, self.metrics)
        try:
            self.grpc = GrpcServer(self.core, _grpc_config(flags, batching))
        except RuntimeError as error:
            raise RuntimeError(f"--port: {error}") from None
        self.http = _http_server(flags, self.core)

    def _available(self, name: str, version: int) -> None:
        with self._announcing:
            if self._serving:
                self._announce(name, version, self.grpc.port)
            else:
                self._waiting.append((name, version))

    def serve(self, stop: threading.Event) -> None:
        """Loads the models, answers until `stop` is set, and finishes what was accepted by then.

        Raises:
          ServingError: the configuration is refused or a model does not load.
        """
        try:
            self.manager.reload(self._config, stop.is_set)
            if stop.is_set():
                return
            self.grpc.start()
            if self.http is not None:
                self.http.start()
            with self._announcing:
                self._serving = True
                for name, version in self._waiting:
                    self._announce(name, version, self.grpc.port)
            self._watch_config(stop)
            self._finish()
        finally:
            self.manager.stop()

    def _finish(self) -> None:
        endings = [threading.Thread(target=self.grpc.stop, args=(_FINISH_S,))]
        if self.http is not None:
            endings.append(threading.Thread(target=self.http.stop, args=(_FINISH_S,)))
        for ending in endings:
            ending.start()
        for ending in endings:
            ending.join()

    def _watch_config(self, stop: threading.Event) -> None:
        """Applies changes of --model_config_file until `stop` is set."""
        interval_s = self._flags.model_config_file_poll_wait_seconds
        if not self._flags.model_config_file or interval_s <= 0:
            stop.wait()
        while not stop.wait(interval_s):
            try:
                config = _model_config(self._flags)
                if config != self._config:
                    self.manager.reload(config, stop.is_set)
                    self._config = config
            except ServingError as error:
                _log.error("--model_config_file: %s", error)
