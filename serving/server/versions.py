"""The versions of one model: each is loaded, serves, finishes its requests and is unloaded, and has a state."""

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
"""Loads a version, given its folder and number."""
Schedule = Callable[[Callable[[], None], float], None]
"""Makes the loading thread run an action after a delay in seconds."""

State = enum.IntEnum("State", {"START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50})
"""State of a version, with the numbers of TF Serving's ModelVersionStatus."""


@dataclasses.dataclass(frozen=True)
class ManagerConfig:
    """Polling for versions and retries of failed loads."""

    poll_interval_s: float = 1.0
    """Time between polls (--file_system_poll_wait_seconds); 0 polls once per configuration, a negative number never."""
    max_retries: int = 5  # of a failed load (--max_num_load_retries)
    retry_interval_s: float = 60.0  # between attempts (--load_retry_interval_micros)
    allow_labels_for_unavailable: bool = False
    """Whether new labels may name versions that do not serve (--allow_version_labels_for_unavailable_models)."""


@dataclasses.dataclass
class Version:
    """One version."""

    number: int
    path: Path
    state: State = State.START
    error: ServingError | None = None  # of the last failed load; None after a success
    aspired: bool = True  # whether it should serve, in TF Serving's words
    retired: bool = False  # unloaded, or failed and no longer aspired: only then a new folder replaces it
    attempts: int = 0  # failed loads so far
    users: int = 0  # requests that use it now
    loaded: Servable | None = None  # what runs it


class ModelVersions:
    """The versions of a model.

    What `load` raises becomes the version's error. `schedule` makes the loading thread run it. `changed` is called
    after every change of state, without a lock.
    """

    def __init__(
        self, name: str, config: ManagerConfig, load: Load, schedule: Schedule, changed: Callable[[], None]
    ) -> None:
        self.name, self._config = name, config
        self._load, self._schedule, self._changed = load, schedule, changed
        self._lock = threading.Condition()
        self._versions: dict[int, Version] = {}

    def aspire(self, paths: Mapping[int, Path]) -> None:
        """Sets which versions should serve: folders by number.

        New ones are loaded, highest number first. Others are unloaded as soon as one of the new set serves, or at once
        if the set is empty. A version that failed is loaded again only after its folder was absent in between.
        """
        with self._lock:
            for version in self._versions.values():
                version.aspired = version.number in paths
            new = [n for n in sorted(paths, reverse=True) if n not in self._versions or self._versions[n].retired]
            for number in new:
                self._versions[number] = Version(number, paths[number])
            for version in self._versions.values():
                version.retired |= not version.aspired and version.state == State.END
        for number in new:
            self._schedule(functools.partial(self._attempt, self._versions[number]), 0.0)
        self._unload_unaspired()
        if new:
            self._changed()

    def _attempt(self, version: Version) -> None:
        with self._lock:
            version.state, version.retired = (State.LOADING, False) if version.aspired else (State.END, True)
        if version.aspired:
            self._try_load(version)
        self._changed()

    def _try_load(self, version: Version) -> None:
        _log.info("loading %s version %d from %s", self.name, version.number, version.path)
        try:
            version.loaded = self._load(version.path, version.number)
        except Exception as error:  # a broken version must not stop the others
            self._failed(version, not_found(str(error)) if isinstance(error, OSError) else as_serving_error(error))
        else:
            with self._lock:
                version.state, version.error = State.AVAILABLE, None
            _log.info("serving %s version %d", self.name, version.number)
        self._unload_unaspired()

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

    def _unload_unaspired(self) -> None:
        """Unloads versions that should no longer serve, unless that would leave none."""
        with self._lock:
            aspired = [version for version in self._versions.values() if version.aspired]
            if aspired and not any(version.state == State.AVAILABLE for version in aspired):
                return
            unaspired = [v for v in self._versions.values() if not v.aspired and v.state == State.AVAILABLE]
            for version in unaspired:
                version.state = State.UNLOADING
        for version in unaspired:
            threading.Thread(target=self._unload, args=(version,), daemon=True).start()

    def _unload(self, version: Version) -> None:
        self._changed()
        with self._lock:
            self._lock.wait_for(lambda: version.users == 0)
            loaded, version.loaded = version.loaded, None
        if loaded is not None:
            loaded.close()
        with self._lock:
            version.state, version.retired = State.END, True
        _log.info("unloaded %s version %d", self.name, version.number)
        self._changed()

    def statuses(self) -> dict[int, Version]:
        """Returns a copy of every version so far, by number."""
        with self._lock:
            return {number: dataclasses.replace(version) for number, version in self._versions.items()}

    def available(self) -> list[int]:
        """Returns the numbers of the versions that serve, ascending."""
        return sorted(number for number, version in self.statuses().items() if version.state == State.AVAILABLE)

    def failures(self) -> dict[int, ServingError]:
        """Returns errors by version if all versions that should serve have failed for good; otherwise empty."""
        aspired = [version for version in self.statuses().values() if version.aspired]
        errors = {v.number: v.error for v in aspired if v.state == State.END and v.error is not None}
        return errors if len(errors) == len(aspired) else {}

    @contextlib.contextmanager
    def use(self, number: int | None) -> Iterator[Servable]:
        """Yields a version (None: the latest) and keeps it loaded within the block. Raises: ServingError: NOT_FOUND."""
        with self._lock:
            serving = [v for v in self._versions.values() if v.state == State.AVAILABLE and number in (None, v.number)]
            if not serving:
                raise servable_not_found(self.name, number)
            version = max(serving, key=lambda candidate: candidate.number)
            version.users += 1
        assert version.loaded is not None  # holds while it is AVAILABLE or has users
        try:
            yield version.loaded
        finally:
            with self._lock:
                version.users -= 1
                self._lock.notify_all()


def servable_not_found(name: str, number: int | None) -> ServingError:
    """Makes the NOT_FOUND error for a model or version that does not serve."""
    request = f"Latest({name})" if number is None else f"Specific({name}, {number})"
    return not_found(f"Servable not found for request: {request}")
