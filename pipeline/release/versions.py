"""Versions in the folder that a server watches: pushed whole, taken back, and brought again.

A server serves the highest number. So a roll-back takes the versions above the one wanted out of the numbers: their
folders get a name no server looks at, `withdrawn-VERSION`. The server loads the older version before it lets the newer
one go, and no request fails. A withdrawn version is brought back by asking for it.
"""

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from models.checked import read_json
from pipeline.common.artifacts import folder_lock
from pipeline.common.digests import file_digest, json_digest
from pipeline.common.records import write_json

RELEASE_FILE = Path("assets.extra", "release.json")
EXPORT_FILE = Path("assets.extra", "manifest.json")
LABELS_FILE = "labels.json"
_WITHDRAWN, _STAGING = "withdrawn-", "staging-"


@dataclasses.dataclass(frozen=True)
class Version:
    """A version that was pushed. withdrawn: taken back."""

    number: int
    path: Path
    withdrawn: bool


def versions_in(base_path: Path) -> list[Version]:
    """All versions there are, the oldest first."""
    found = []
    for path in base_path.iterdir() if base_path.is_dir() else ():
        name = path.name.removeprefix(_WITHDRAWN)
        if name.isdecimal() and path.is_dir():
            found.append(Version(int(name), path, path.name != name))
    return sorted(found, key=lambda version: version.number)


def served_version(base_path: Path) -> Version | None:
    """The version a server takes by default: the highest that is not withdrawn."""
    served = [version for version in versions_in(base_path) if not version.withdrawn]
    return served[-1] if served else None


def read_release(version: Path) -> dict[str, Any] | None:
    """What was recorded as a version was pushed, None if it came another way."""
    try:
        found = json.loads((version / RELEASE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def model_digest(version: Path) -> str:
    """Hash of what a server loads of a version, whatever is recorded in it besides."""
    records = {version / RELEASE_FILE, version / EXPORT_FILE}
    files = sorted(path for path in version.rglob("*") if path.is_file() and path not in records)
    return json_digest({str(path.relative_to(version)): file_digest(path) for path in files})


def push(staged: Path, base_path: Path, release: Mapping[str, Any]) -> Version:
    """Copies a staged version beside the others under a name no server looks at, syncs it, and gives it its number.

    The number is the time in seconds, or one above the highest there ever was here if the clock says less.

    Args:
      staged: folder of a SavedModel.
      base_path: folder of the versions, what TF Serving calls --model_base_path.
      release: what is recorded inside the version, in `RELEASE_FILE`.

    Raises:
      Busy: another push or roll-back is under way.
      OSError: the copy failed, for want of space for example; nothing is left of it.
    """
    with folder_lock(base_path):
        _sweep(base_path)
        number = max([int(time.time()), *(version.number + 1 for version in versions_in(base_path))])
        copy = base_path / f"{_STAGING}{number}-{os.getpid()}"
        try:
            shutil.copytree(staged, copy)
            write_json(copy / RELEASE_FILE, {"version": number, **release})
            sync(copy)
            os.rename(copy, base_path / str(number))
            _sync_folder(base_path)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
    return Version(number, base_path / str(number), withdrawn=False)


def _sweep(base_path: Path) -> None:
    """Removes what killed pushes left: the lock is held, so nobody writes to it."""
    for leftover in base_path.glob(f"{_STAGING}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def sync(folder: Path) -> None:
    """Flushes a folder and all in it to the disk, so that a version seen after a crash is whole."""
    for path in (*folder.rglob("*"), folder):
        _sync_folder(path)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def roll_back(base_path: Path, wanted: str) -> Version:
    """Makes an earlier version, or a withdrawn one, the one that is served.

    Args:
      base_path: folder of the versions.
      wanted: its number, its label, or "previous": the last one before the one that is served now.

    Raises:
      ValueError: no such version or label, or it is served already.
      Busy: another push or roll-back is under way.
    """
    with folder_lock(base_path):
        served, known = served_version(base_path), {version.number: version for version in versions_in(base_path)}
        number = _number_of(base_path, wanted, served, known)
        if served is not None and number == served.number:
            raise ValueError(f"--rollback: expected another version than the one that is served, got {wanted}")
        if known[number].withdrawn:
            os.rename(known[number].path, base_path / str(number))
        for version in known.values():  # upwards: a server never sees one in between as the highest
            if version.number > number and not version.withdrawn:
                os.rename(version.path, base_path / f"{_WITHDRAWN}{version.number}")
        _sync_folder(base_path)
    return Version(number, base_path / str(number), withdrawn=False)


def _number_of(base_path: Path, wanted: str, served: Version | None, known: Mapping[int, Version]) -> int:
    if wanted == "previous":
        before = [
            v.number for v in known.values() if not v.withdrawn and served is not None and v.number < served.number
        ]
        if not before:
            raise ValueError(f"--rollback: expected a version before the one that is served in {base_path}, got none")
        return max(before)
    labels = read_labels(base_path)
    number = int(wanted) if wanted.isdecimal() else labels.get(wanted)
    if number not in known:
        there = ", ".join([*map(str, known), *labels]) or "none"
        raise ValueError(f"--rollback: expected a version or label of {base_path} ({there}), got {wanted!r}")
    assert number is not None
    return number


def read_labels(base_path: Path) -> dict[str, int]:
    """Versions by label.

    Raises:
      ValueError: the file is none of these.
    """
    path = base_path / LABELS_FILE
    found: dict[str, int] = read_json(path, dict[str, int]) if path.exists() else {}
    return found


def set_label(base_path: Path, label: str, number: int) -> None:
    """Gives a label to a version; it leaves the version that had it.

    Raises:
      ValueError: a label that reads as a version, or is "previous".
    """
    if label.isdecimal() or label == "previous" or not label:
        raise ValueError(f"--label: expected a name, got {label!r}")
    with folder_lock(base_path):
        write_json(base_path / LABELS_FILE, {**read_labels(base_path), label: number})


def check_verdicts(digest: str, blessing: Mapping[str, Any], infra: Mapping[str, Any]) -> None:
    """Whether a model may be pushed.

    Args:
      digest: of the model.
      blessing, infra: the records of `pipeline.bless` and `pipeline.infra_validate`.

    Raises:
      ValueError: one of them is another verdict, or about another model.
    """
    for name, record, good in (("blessing", blessing, "BLESSED"), ("infra-validation", infra, "VALID")):
        verdict, model, reasons = record.get("verdict"), str(record.get("model")), record.get("reasons") or []
        if verdict != good:
            raise ValueError(f"--{name}: expected {good}, got {verdict}: {'; '.join(map(str, reasons)) or 'no reason'}")
        if model != digest:
            raise ValueError(f"--{name}: expected one about the model {digest[:12]}, got one about {model[:12]}")


def read_meta_graph(version: Path) -> meta_graph_pb2.MetaGraphDef:
    """The graph that a server loads, the one with tag `serve`."""
    saved_model = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    return next(graph for graph in saved_model.meta_graphs if "serve" in graph.meta_info_def.tags)
