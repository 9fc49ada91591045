"""What every stage leaves beside its results: manifest.json, by which a second run knows whether they are its own.

A folder holds the results of one fingerprint: options, hashes of what was read, version of the code. A stage begins in
an empty folder, goes on or is done where the fingerprint is the same, and refuses with what differs where it is not.
"""

import contextlib
import dataclasses
import fcntl
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipeline.common.digests import code_version, content_digest, json_digest
from pipeline.common.hyperparameters import flattened
from pipeline.common.records import git_commit, plain, versions, write_config, write_json
from pipeline.common.stages import entry_point

MANIFEST = "manifest.json"
SCENES = "the scenes "
"""What an input that is a set of scenes is called, before the set's name."""
_SHOWN = 12  # digits of a hash that people are shown
State = Literal["new", "begun", "done"]


class Differs(ValueError):
    """A folder holds the results of other options, inputs or code; one line says which."""


class Busy(ValueError):
    """Another process works in the folder."""


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What decides a stage's results.

    stage: its name. options: by dotted name. inputs: hashes by what they are called. code: see `code_version`.
    paths: where inputs lay, which decides nothing.
    """

    stage: str
    options: Mapping[str, Any]
    inputs: Mapping[str, str]
    code: Mapping[str, str]
    paths: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def digest(self) -> str:
        """All of it as one hash."""
        return json_digest({name: value for name, value in plain(self).items() if name != "paths"})


class Input(NamedTuple):
    """Something a stage reads: its hash, and where it lies."""

    digest: str
    path: Path


def fingerprint(
    stage: str, options: Any, inputs: Mapping[str, Input] | None = None, *, left_out: tuple[str, ...] = ()
) -> Fingerprint:
    """The fingerprint of a stage.

    Paths among the options say where, not what: those of files count by what they hold, the folders in `left_out` and
    paths to nothing do not count.

    Args:
      stage: its name.
      options: its dataclass.
      inputs: what is read besides, by name.
      left_out: options that change no result: where it goes, how much is shown.

    Raises:
      ValueError: a path to a file that is not there.
    """
    values = {name: value for name, value in flattened(options).items() if name not in left_out}
    paths = {name: value for name, value in values.items() if isinstance(value, Path)}
    read = {_flag(name): _hash_of(name, path) for name, path in paths.items()}
    kept = {name: value for name, value in plain(values).items() if name not in paths and value is not None}
    if "config" in kept:
        kept["config"] = _sets(kept["config"])
    read |= {name: given.digest for name, given in (inputs or {}).items()}
    places = {_flag(name): path for name, path in paths.items()}
    places |= {name: given.path for name, given in (inputs or {}).items()}
    shown = {name: str(path.absolute()) for name, path in places.items()}
    return Fingerprint(stage, kept, read, code_version(entry_point(stage)), shown)


def _sets(config: Any) -> Any:
    """Names of sets of scenes without the installation file behind @, which counts by what it holds."""
    return config.partition("@")[0] if isinstance(config, str) else [name.partition("@")[0] for name in config]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _hash_of(name: str, path: Path) -> str:
    try:
        return output_digest(path)
    except ValueError as error:
        raise ValueError(f"{_flag(name)}: {error}") from None


def difference(there: Mapping[str, Any], expected: Fingerprint) -> str | None:
    """What differs first between a manifest's fingerprint and another one, in words; None if nothing does."""
    if there.get("stage") != expected.stage:
        return f"the stage is {there.get('stage')} there, {expected.stage} here"
    for part in ("options", "inputs", "code"):
        old, new = there.get(part, {}), plain(getattr(expected, part))
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                return f"{_called(part, name)} is {_shown(old.get(name))} there, {_shown(new.get(name))} here"
    return None


def _called(part: str, name: str) -> str:
    if part == "options":
        return _flag(name)
    return f"the content of {name}" if part == "inputs" else f"the version of {name}"


def _shown(value: Any) -> str:
    if value is None:
        return "not given"
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:_SHOWN] if len(text) == 64 and " " not in text else text


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """A folder's manifest, None if there is none.

    Raises:
      ValueError: there is a file, but not one of these.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found["fingerprint"], dict):
            raise TypeError
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"expected a stage's manifest at {path}, got another file") from None
    return found


def state(folder: Path, expected: Fingerprint) -> State:
    """How far a folder is with what is expected for: not begun, begun, or done with all its results unharmed.

    Raises:
      Differs: it holds something else.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return "new"
    differs = difference(manifest["fingerprint"], expected)
    if differs is not None:
        raise Differs(f"{folder} holds another run: {differs}; take another folder, or delete it")
    if manifest["outputs"] is None:
        return "begun"
    return "done" if damaged(folder, manifest) is None else "begun"


def damaged(folder: Path, manifest: Mapping[str, Any]) -> str | None:
    """The first of a manifest's outputs that is missing or not what it was, None if all are as they were."""
    for name, record in manifest["outputs"].items():
        path = folder / name
        if not path.exists():
            return name
        if _stamp(path) != record["stamp"] and content_digest(path) != record["sha256"]:
            return name
    return None


def _stamp(path: Path) -> list[list[Any]]:
    """Names, sizes and times of change of a file, or of all files of a folder: unchanged, their hash need not be."""
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    found = [(item, item.stat()) for item in files]
    return [[str(item.relative_to(path)), status.st_size, status.st_mtime_ns] for item, status in found]


def output_digest(path: Path) -> str:
    """Hash of a file or folder, taken from the manifest beside it where the file has not changed since.

    Raises:
      ValueError: nothing there.
    """
    manifest = read_manifest(path.parent)
    record = (manifest or {}).get("outputs") or {}
    known = record.get(path.name)
    if known is not None and path.exists() and _stamp(path) == known["stamp"]:
        return str(known["sha256"])
    return content_digest(path)


def origin(path: Path) -> dict[str, Any] | None:
    """The manifest of the stage that left a file or folder, None if none did or it was changed since."""
    manifest = read_manifest(path.parent)
    record = ((manifest or {}).get("outputs") or {}).get(path.name)
    return manifest if record is not None and path.exists() and output_digest(path) == record["sha256"] else None


def chosen_on(path: Path | None) -> int:
    """Number of validation scenes that influenced a choice in a model; 0 without a model or a manifest."""
    manifest = origin(path) if path is not None else None
    return int(manifest["facts"].get("chosen_on", 0)) if manifest is not None else 0


@contextlib.contextmanager
def folder_lock(folder: Path, lock_name: str = ".lock") -> Iterator[None]:
    """Keeps a second process out of a folder; the lock goes with the process, however that ends.

    Args:
      folder: where; made if it is not there.
      lock_name: file in it that is locked.

    Raises:
      Busy: another one is in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / lock_name, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"expected a folder that nobody works in, got {folder}, which is busy") from None
        yield


def new_record(expected: Fingerprint) -> dict[str, Any]:
    """The manifest of work that begins now."""
    return {
        "fingerprint": plain(expected),
        "digest": expected.digest,
        "command": sys.argv,
        "versions": versions(),
        "git_commit": git_commit(),
        "started": now(),
        "finished": None,
        "facts": {},
        "outputs": None,
    }


class Artifact:
    """A folder that a stage fills. Used through `making`.

    folder: where. state: how far it was. facts: what the manifest says besides, such as metrics.
    """

    def __init__(self, folder: Path, expected: Fingerprint, how_far: State) -> None:
        self.folder, self.state = folder, how_far
        self.facts: dict[str, Any] = {}
        self._record = new_record(expected)

    def begin(self, options: Any) -> None:
        """Leaves word of what the folder is for, before anything else is in it; where that was done, nothing.

        Args:
          options: what the stage was told, for config.json.
        """
        if self.state == "new":
            write_config(self.folder / "config.json", options)
            write_json(self.folder / MANIFEST, self._record)

    def finish(self, *outputs: str) -> None:
        """Leaves word that it is done.

        Args:
          outputs: files and folders in the folder that are its results.
        """
        found = {
            name: {"sha256": content_digest(self.folder / name), "stamp": _stamp(self.folder / name)}
            for name in outputs
        }
        self._record |= {"finished": now(), "facts": plain(self.facts), "outputs": found}
        write_json(self.folder / MANIFEST, self._record)


def now() -> str:
    """Date, time and zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


@contextlib.contextmanager
def making(
    folder: Path, expected: Fingerprint, logger: logging.Logger, *, leftovers: tuple[str, ...] = ()
) -> Iterator[Artifact]:
    """The work of a stage on its folder: `begin`, results, `finish`; `state` "done" leaves nothing to do.

    Args:
      folder: where results go.
      expected: fingerprint of what is to be there.
      logger: told what is taken up or left alone.
      leftovers: names whose presence without a manifest means that the folder is somebody else's.

    Raises:
      Differs: the folder holds something else, which is left as it is.
      Busy: another process is at it.
    """
    with folder_lock(folder):
        how_far = state(folder, expected)
        if how_far == "new":
            strange = next((name for name in leftovers if (folder / name).exists()), None)
            if strange is not None:
                raise Differs(f"{folder} holds {strange} without a {MANIFEST}; take another folder, or delete it")
        if how_far == "done":
            logger.info(f"{expected.stage}: nothing has changed, {folder} stays as it is")
        yield Artifact(folder, expected, how_far)
