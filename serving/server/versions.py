"""Versions of one model: those that should serve are loaded, the others drained and unloaded, each with its state."""

import contextlib
import dataclasses
import enum
import functools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from serving.server.calls import ServingError, as_serving_error, not_found
from serving.server.servable import Servable

_log = logging.getLogger(__name__)

Load = Callable[[Path, int], Servable]
"""A version's folder and number to what runs it."""
Schedule = Callable[[Callable[[], None], float], None]
"""Has an action run by the loading thread after so many seconds."""

State = enum.IntEnum("State", {"START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50})
"""States of a version, numbered as in TF Serving's ModelVersionStatus."""


@dataclasses.dataclass(frozen=True)
class ManagerConfig:
    """How a server looks after its models."""

    poll_interval_s: float = 1.0
    """Time between looks for versions (--file_system_poll_wait_seconds); 0 looks once a configuration, < 0 never."""
    max_retries: int = 5
    """How often a failed load is tried again (--max_num_load_retries)."""
    retry_interval_s: float = 60.0
    """Time between tries (--load_retry_interval_micros)."""
    allow_labels_for_unavailable: bool = False
    """--allow_version_labels_for_unavailable_models."""


@dataclasses.dataclass
class Version:
    """A version's state, and what ended it if anything went wrong."""

    number: int
    path: Path
    state: State = State.START
    error: ServingError | None = None
    aspired: bool = True
    gone: bool = False
    attempts: int = 0
    users: int = 0
    loaded: Servable | None = None


class ModelVersions:
    """The versions of a model.

    Args:
      name: the model's name.
      config: what follows a failed load.
      load: makes a version ready to run; whatever it raises is the version's error.
      schedule: where loads run.
      changed: told of every change of state, with no lock held.
    """

    def __init__(
        self, name: str, config: ManagerConfig, load: Load, schedule: Schedule, changed: Callable[[], None]
    ) -> None:
        self.name, self._config = name, config
        self._load, self._schedule, self._changed = load, schedule, changed
        self._lock = threading.Condition()
        self._versions: dict[int, Version] = {}

    def aspire(self, paths: Mapping[int, Path]) -> None:
        """Sets which versions should serve. New ones are loaded, highest first; the others go once one of these serves,
        or at once if there are none. One that failed is left alone until it was away in between."""
        with self._lock:
            for version in self._versions.values():
                version.aspired = version.number in paths
            fresh = [n for n in sorted(paths, reverse=True) if n not in self._versions or self._versions[n].gone]
            for number in fresh:
                self._versions[number] = Version(number, paths[number])
            for version in self._versions.values():
                version.gone |= not version.aspired and version.state == State.END
        for number in fresh:
            self._schedule(functools.partial(self._attempt, self._versions[number]), 0.0)
        self._settle()
        if fresh:
            self._changed()

    def _attempt(self, version: Version) -> None:
        with self._lock:
            version.state, version.gone = (State.LOADING, False) if version.aspired else (State.END, True)
        if version.aspired:
            self._try_load(version)
        self._changed()

    def _try_load(self, version: Version) -> None:
        _log.info("loading %s version %d from %s", self.name, version.number, version.path)
        try:
            version.loaded = self._load(version.path, version.number)
        except Exception as error:  # whatever a broken version raises, the good one must go on serving
            self._failed(version, not_found(str(error)) if isinstance(error, OSError) else as_serving_error(error))
        else:
            with self._lock:
                version.state, version.error = State.AVAILABLE, None
            _log.info("serving %s version %d", self.name, version.number)
        self._settle()

    def _failed(self, version: Version, error: ServingError) -> None:
        line = ServingError(error.code, error.message.strip().partition("\n")[0])
        version.attempts += 1
        again = version.attempts <= self._config.max_retries and version.aspired
        _log.error("%s version %d: attempt %d: %s", self.name, version.number, version.attempts, line)
        with self._lock:
            version.error = line
            version.state = version.state if again else State.END
        if again:
            self._schedule(functools.partial(self._attempt, version), self._config.retry_interval_s)

    def _settle(self) -> None:
        """Lets go of versions no longer wanted, where that leaves one that serves."""
        with self._lock:
            wanted = [version for version in self._versions.values() if version.aspired]
            if wanted and not any(version.state == State.AVAILABLE for version in wanted):
                return
            leaving = [v for v in self._versions.values() if not v.aspired and v.state == State.AVAILABLE]
            for version in leaving:
                version.state = State.UNLOADING
        for version in leaving:
            threading.Thread(target=self._unload, args=(version,), daemon=True).start()

    def _unload(self, version: Version) -> None:
        self._changed()
        with self._lock:
            self._lock.wait_for(lambda: version.users == 0)
            loaded, version.loaded = version.loaded, None
        if loaded is not None:
            loaded.close()
        with self._lock:
            version.state, version.gone = State.END, True
        _log.info("unloaded %s version %d", self.name, version.number)
        self._changed()

    def statuses(self) -> dict[int, Version]:
        """Every version there has been, by number, as it is now."""
        with self._lock:
            return {number: dataclasses.replace(version) for number, version in self._versions.items()}

    def available(self) -> list[int]:
        """The versions that serve, in ascending order."""
        return sorted(number for number, version in self.statuses().items() if version.state == State.AVAILABLE)

    def failures(self) -> dict[int, ServingError]:
        """Errors by version if every version that should serve has failed; none while there is hope."""
        wanted = [version for version in self.statuses().values() if version.aspired]
        errors = {v.number: v.error for v in wanted if v.state == State.END and v.error is not None}
        return errors if len(errors) == len(wanted) else {}

    @contextlib.contextmanager
    def use(self, number: int | None) -> Iterator[Servable]:
        """The version of that number, or the latest, loaded until the block ends. Raises: ServingError: NOT_FOUND."""
        with self._lock:
            serving = [v for v in self._versions.values() if v.state == State.AVAILABLE and number in (None, v.number)]
            if not serving:
                raise servable_not_found(self.name, number)
            version = max(serving, key=lambda candidate: candidate.number)
            version.users += 1
        assert version.loaded is not None  # as long as it is AVAILABLE or has users
        try:
            yield version.loaded
        finally:
            with self._lock:
                version.users -= 1
                self._lock.notify_all()


def servable_not_found(name: str, number: int | None) -> ServingError:
    """NOT_FOUND for a model, or a version of it, that does not serve."""
    request = f"Latest({name})" if number is None else f"Specific({name}, {number})"
    return not_found(f"Servable not found for request: {request}")
