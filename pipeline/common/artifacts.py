"""Manifests: every stage writes a manifest.json next to its results, so that a later run can reuse them.

A folder holds the results of one fingerprint: the options, the hashes of the inputs and the version of the code. In an
empty folder a stage starts. In a folder with the same fingerprint it resumes, or does nothing if the results are
complete. In a folder with another fingerprint it stops with a message that names the first difference.
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
"""Prefix of the name of an input that is a set of scenes; the set's name follows."""
_SHOWN = 12  # digits of a hash in messages
State = Literal["new", "begun", "done"]


class Differs(ValueError):
    """The folder holds results of other options, inputs or code. The message names the first difference."""


class Busy(ValueError):
    """Another process is using the folder."""


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Everything that determines the results of a stage.

    options: values by dotted name. inputs: hashes by name of the input. code: see `code_version`. paths: locations of
    the inputs, which are not part of the digest.
    """

    stage: str
    options: Mapping[str, Any]
    inputs: Mapping[str, str]
    code: Mapping[str, str]
    paths: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of everything except the paths."""
        return json_digest({name: value for name, value in plain(self).items() if name != "paths"})


class Input(NamedTuple):
    """An input of a stage: its hash and its path."""

    digest: str
    path: Path


def fingerprint(
    stage: str, options: Any, inputs: Mapping[str, Input] | None = None, *, left_out: tuple[str, ...] = ()
) -> Fingerprint:
    """Computes the fingerprint of a stage from its options and, by name, further inputs.

    A path among the options is replaced by the hash of the file it points to, so that moving a file changes nothing.
    Options that are None are not part of the fingerprint, nor those in `left_out`, which do not change the results,
    such as the output folder.
    """
    values = {name: value for name, value in flattened(options).items() if name not in left_out}
    paths = {name: value for name, value in values.items() if isinstance(value, Path)}
    given = {_flag(name): Input(_hash_of(name, path), path) for name, path in paths.items()} | dict(inputs or {})
    kept = {name: value for name, value in plain(values).items() if name not in paths and value is not None}
    if "config" in kept:  # names of sets without "@FILE": the hash of the installation file is an input of its own
        sets = kept["config"]
        kept["config"] = sets.partition("@")[0] if isinstance(sets, str) else [name.partition("@")[0] for name in sets]
    digests = {name: one.digest for name, one in given.items()}
    places = {name: str(one.path.absolute()) for name, one in given.items()}
    return Fingerprint(stage, kept, digests, code_version(entry_point(stage)), places)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _hash_of(name: str, path: Path) -> str:
    try:
        return output_digest(path)
    except ValueError as error:
        raise ValueError(f"{_flag(name)}: {error}") from None


def difference(stored: Mapping[str, Any], expected: Fingerprint) -> str | None:
    """The first difference to a fingerprint stored as JSON, such as "--scenes was 5, now 6"; None if both are equal."""
    if stored.get("stage") != expected.stage:
        return f"the stage was {stored.get('stage')}, now {expected.stage}"
    labels = {"options": _flag, "inputs": "the content of {}".format, "code": "the version of {}".format}
    for part, label in labels.items():
        old, new = stored.get(part, {}), plain(getattr(expected, part))
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                return f"{label(name)} was {_shown(old.get(name))}, now {_shown(new.get(name))}"
    return None


def _shown(value: Any) -> str:
    if value is None:
        return "not given"
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:_SHOWN] if len(text) == 64 and " " not in text else text


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Reads the manifest of a folder; None if there is none, ValueError if the file is not a manifest."""
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
    """State of a folder with respect to a fingerprint.

    "new": no manifest. "begun": the results are incomplete or were changed. "done": they are complete and unchanged.
    Raises Differs if the folder has a manifest with another fingerprint.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return "new"
    differs = difference(manifest["fingerprint"], expected)
    if differs is not None:
        raise Differs(f"{folder} holds another run: {differs}; use another folder or delete this one")
    return "begun" if manifest["outputs"] is None or damaged(folder, manifest) is not None else "done"


def damaged(folder: Path, manifest: Mapping[str, Any]) -> str | None:
    """Name of the first output in the manifest that is missing or changed; None if all are intact."""
    for name, record in manifest["outputs"].items():
        path = folder / name
        if not path.exists() or (_stamp(path) != record["stamp"] and content_digest(path) != record["sha256"]):
            return name
    return None


def _stamp(path: Path) -> list[list[Any]]:
    """Names, sizes and modification times of a file or of all files in a folder: if unchanged, so is the hash."""
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    found = [(item, item.stat()) for item in files]
    return [[str(item.relative_to(path)), status.st_size, status.st_mtime_ns] for item, status in found]


def output_digest(path: Path) -> str:
    """Hash of a file or folder; taken from the manifest in its parent folder if the file is unchanged since."""
    known = ((read_manifest(path.parent) or {}).get("outputs") or {}).get(path.name)
    if known is not None and path.exists() and _stamp(path) == known["stamp"]:
        return str(known["sha256"])
    return content_digest(path)


def origin(path: Path) -> dict[str, Any] | None:
    """The manifest of the stage that wrote a file or folder; None if no stage did, or if it was changed since."""
    manifest = read_manifest(path.parent)
    record = ((manifest or {}).get("outputs") or {}).get(path.name)
    return manifest if record is not None and path.exists() and output_digest(path) == record["sha256"] else None


def chosen_on(path: Path | None) -> int:
    """Number of validation scenes used to select a model; 0 without a model or a manifest."""
    manifest = origin(path) if path is not None else None
    return int(manifest["facts"].get("chosen_on", 0)) if manifest is not None else 0


@contextlib.contextmanager
def folder_lock(folder: Path, lock_name: str = ".lock") -> Iterator[None]:
    """Creates a folder and locks it until the block or the process ends; Busy if another process holds the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / lock_name, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"expected a folder that no other process uses, got {folder}, which is in use") from None
        yield


def new_record(expected: Fingerprint) -> dict[str, Any]:
    """The manifest of a stage that starts now and has no outputs yet."""
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
    """The output folder of a stage, from `making`.

    state: the state of the folder when it was opened. facts: further values for the manifest, such as metrics.
    """

    def __init__(self, folder: Path, expected: Fingerprint, state_at_start: State) -> None:
        self.folder, self.state = folder, state_at_start
        self.facts: dict[str, Any] = {}
        self._record = new_record(expected)

    def begin(self, options: Any) -> None:
        """Writes config.json and an unfinished manifest.json before any result, if `state` is "new"."""
        if self.state == "new":
            write_config(self.folder / "config.json", options)
            write_json(self.folder / MANIFEST, self._record)

    def finish(self, *outputs: str) -> None:
        """Writes the finished manifest with the hashes of the results, the named files and folders."""
        paths = {name: self.folder / name for name in outputs}
        found = {name: {"sha256": content_digest(path), "stamp": _stamp(path)} for name, path in paths.items()}
        self._record |= {"finished": now(), "facts": plain(self.facts), "outputs": found}
        write_json(self.folder / MANIFEST, self._record)


def now() -> str:
    """Local date and time with the time zone offset, in ISO 8601 format."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


@contextlib.contextmanager
def making(
    folder: Path, expected: Fingerprint, logger: logging.Logger, *, leftovers: tuple[str, ...] = ()
) -> Iterator[Artifact]:
    """Locks the output folder of a stage and yields its `Artifact`; Busy if another process is using the folder.

    The caller calls `begin`, writes its results and calls `finish`. If `state` is "done" there is nothing to do. Raises
    Differs if the folder holds other results, or one of the outputs `leftovers` without a manifest; it is not touched.
    """
    with folder_lock(folder):
        found = state(folder, expected)
        if found == "new":
            foreign = next((name for name in leftovers if (folder / name).exists()), None)
            if foreign is not None:
                raise Differs(f"{folder} holds {foreign} without a {MANIFEST}; use another folder or delete this one")
        if found == "done":
            logger.info(f"{expected.stage}: nothing has changed, {folder} stays as it is")
        yield Artifact(folder, expected, found)
