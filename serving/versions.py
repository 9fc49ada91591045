"""Versions of one model: the folder is polled, the latest serves, a new one loads before the old one goes."""

import contextlib
import dataclasses
import enum
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc

from serving.errors import ServingError, invalid_argument
from serving.servable import Servable


class State(enum.IntEnum):
    """States of a version, numbered as in TF Serving's ModelVersionStatus."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclasses.dataclass
class VersionStatus:
    """State of a version and why it ended, if it could not be loaded."""

    state: State
    error: str = ""


class ModelVersions:
    """Watches MODEL_BASE_PATH and hands out the version that serves.

    Args:
      name: the model's name.
      base_path: folder of numbered versions.
    """

    def __init__(self, name: str, base_path: Path) -> None:
        self.name, self.base_path = name, base_path
        self._lock = threading.Condition()
        self._users: dict[int, int] = {}
        self._current: Servable | None = None
        self.statuses: dict[int, VersionStatus] = {}

    def poll(self) -> None:
        """Loads the highest version that has not failed; unloads the one it replaces once nobody uses it."""
        found = [int(path.name) for path in self.base_path.glob("*") if path.name.isdecimal() and path.is_dir()]
        failed = {version for version, status in self.statuses.items() if status.error}
        candidates = [version for version in found if version not in failed]
        old = self._current
        if not candidates or (old is not None and max(candidates) == old.version):
            return
        version = max(candidates)
        self.statuses[version] = VersionStatus(State.LOADING)
        try:
            servable = Servable(self.base_path / str(version), version)
        except Exception as error:  # a broken version must not stop the good one; its status says why
            self.statuses[version] = VersionStatus(State.END, str(error).partition("\n")[0])
            return
        with self._lock:
            self._current = servable
            self.statuses[version] = VersionStatus(State.AVAILABLE)
            if old is None:
                return
            self.statuses[old.version] = VersionStatus(State.UNLOADING)
            self._lock.wait_for(lambda: not self._users.get(old.version))
        old.close()
        self.statuses[old.version] = VersionStatus(State.END)

    @property
    def serving_version(self) -> int | None:
        """The version that serves, None before the first is loaded."""
        current = self._current
        return current.version if current else None

    @contextlib.contextmanager
    def use(self, name: str, version: int | None, label: str) -> Iterator[Servable]:
        """The servable for a request; it stays loaded until the block ends.

        Raises:
          ServingError: with TF Serving's code and message.
        """
        if not name:
            raise invalid_argument("ModelSpec has no name specified.")
        if label:
            raise invalid_argument(f"Unrecognized servable version label: {label}")
        with self._lock:
            servable = self._current
            known = servable is not None and name == self.name
            if servable is None or not known or version not in (None, servable.version):
                wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")
            self._users[servable.version] = self._users.get(servable.version, 0) + 1
        try:
            yield servable
        finally:
            with self._lock:
                self._users[servable.version] -= 1
                self._lock.notify_all()
