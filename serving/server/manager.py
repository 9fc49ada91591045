"""The models of a server: configuration, labels, and the threads that poll for versions and load them."""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
from tensorflow_serving.apis import model_pb2

from serving.server.calls import NO_DEADLINE, Call, ServingError, invalid_argument, unavailable
from serving.server.config import ModelServerConfig, aspired_versions, check_transition, checked_labels
from serving.server.servable import Servable
from serving.server.versions import Load, ManagerConfig, ModelVersions, Version, servable_not_found

_log = logging.getLogger(__name__)
_POLL_S = 0.1


class ModelManager:
    """Loads and unloads versions so that those serve that the configuration selects.

    `load` loads one version. `on_change` is called whenever the state of a version changes.
    """

    def __init__(self, config: ManagerConfig, load: Load, on_change: Callable[[], None]) -> None:
        self.config, self._load, self._on_change = config, load, on_change
        self._reloading, self._polling, self._lock = threading.Lock(), threading.Lock(), threading.Condition()
        self._server_config = ModelServerConfig()
        self._models: dict[str, ModelVersions] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._warnings: dict[str, str] = {}
        self._loads: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopped = threading.Event()
        threading.Thread(target=self._run_loads, daemon=True, name="load").start()
        if config.poll_interval_s > 0:
            threading.Thread(target=self._poll_forever, daemon=True, name="poll").start()

    def stop(self) -> None:
        """Stops polling, loading and waiting; loaded versions continue to serve."""
        self._stopped.set()
        self._loads.put(lambda: None)

    def _schedule(self, action: Callable[[], None], delay_s: float) -> None:
        if delay_s == 0.0:
            self._loads.put(action)
            return
        timer = threading.Timer(delay_s, self._loads.put, (action,))
        timer.daemon = True
        timer.start()

    def _run_loads(self) -> None:
        while not self._stopped.is_set():
            action = self._loads.get()
            try:
                if not self._stopped.is_set():
                    action()
            except Exception:  # a broken version must not end the thread
                _log.exception("loading failed")

    def _changed(self) -> None:
        with self._lock:
            self._lock.notify_all()
        self._on_change()

    def _poll_forever(self) -> None:
        while not self._stopped.wait(self.config.poll_interval_s):
            try:
                with self._polling:
                    self._poll()
            except Exception:  # a broken folder must not end the thread
                _log.exception("polling for versions failed")

    def _poll(self) -> None:
        for model in self._server_config.model_config_list.config:
            try:
                paths = aspired_versions(Path(model.base_path), model.model_version_policy)
                warning = "" if paths else f"No versions of servable {model.name} found under {model.base_path}"
            except (OSError, ValueError) as error:
                paths, warning = None, f"Could not find base path {model.base_path} for {model.name}: {error}"
            if warning and self._warnings.get(model.name) != warning:
                _log.warning(warning)
            self._warnings[model.name] = warning
            if paths is not None:
                self._model(model.name).aspire(paths)

    def _model(self, name: str) -> ModelVersions:
        with self._lock:
            if name not in self._models:
                self._models[name] = ModelVersions(name, self.config, self._load, self._schedule, self._changed)
            return self._models[name]

    def reload(self, config: ModelServerConfig, call: Call = NO_DEADLINE) -> None:
        """Applies a configuration and waits until each of its new models has a version that serves.

        Raises: ServingError: the configuration is invalid; UNKNOWN if no version of a new model loads; UNAVAILABLE if
        the manager was stopped, or as `Call.check`, with the configuration still in effect.
        """
        while not self._reloading.acquire(timeout=_POLL_S):
            self._check(call)
        try:
            self._wait_for(self._apply(config), call)
        finally:
            self._reloading.release()

    def _check(self, call: Call) -> None:
        call.check()
        if self._stopped.is_set():
            raise unavailable("the server is shutting down")

    def _apply(self, config: ModelServerConfig) -> list[str]:
        """Applies a configuration and returns the names of its new models."""
        known, models = self._names(), self._models
        check_transition(self._server_config, config)
        allow = self.config.allow_labels_for_unavailable
        labels = checked_labels(config, self._labels, lambda n: models[n].available() if n in models else [], allow)
        with self._polling:
            self._server_config, self._labels = config, labels
            for name in set(self._models) - set(self._names()):
                self._models[name].aspire({})
            if self.config.poll_interval_s >= 0:
                self._poll()
        return sorted(set(self._names()) - set(known))

    def _wait_for(self, names: list[str], call: Call) -> None:
        models = [self._model(name) for name in names]
        with self._lock:
            while not self._lock.wait_for(lambda: all(m.available() or m.failures() for m in models), _POLL_S):
                self._check(call)
        failed = [
            f"{{{{name: {model.name} version: {number}}} due to error: {error}}}, "
            for model in models
            if not model.available()
            for number, error in sorted(model.failures().items())
        ]
        if failed:
            message = f"{len(failed)} model(s) did not become available: {{{''.join(failed)}}}"
            raise ServingError(grpc.StatusCode.UNKNOWN, message)

    @contextlib.contextmanager
    def use(self, spec: model_pb2.ModelSpec) -> Iterator[Servable]:
        """Yields the version that `spec` names and keeps it loaded within the block. Raises: ServingError."""
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        number = spec.version.value if spec.HasField("version") else None
        if spec.WhichOneof("version_choice") == "version_label":
            number = self._labels.get(spec.name, {}).get(spec.version_label)
            if number is None:
                raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
        model = self._models.get(spec.name)
        if model is None:
            raise servable_not_found(spec.name, number)
        with model.use(number) as loaded:
            yield loaded

    def statuses(self, name: str) -> dict[int, Version]:
        """Returns every version that was ever selected to serve; empty for an unknown model."""
        model = self._models.get(name)
        return model.statuses() if model is not None else {}

    def _names(self) -> list[str]:
        return [model.name for model in self._server_config.model_config_list.config]

    def serves(self, name: str) -> bool:
        """Returns whether the configuration lists a model of that name."""
        return name in self._names()

    def available(self) -> dict[str, list[int]]:
        """Returns the versions that serve, ascending, for each model of the configuration."""
        return {name: self._model(name).available() for name in self._names()}
