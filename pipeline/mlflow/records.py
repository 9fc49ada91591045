"""Reads a record of each stage of a run from its manifests, verdicts and releases, without importing MLflow."""

import dataclasses
import datetime
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.common.artifacts import MANIFEST, SCENES, damaged, read_manifest
from pipeline.common.digests import file_digest, json_digest
from pipeline.common.run_folders import TENSORBOARD, RunFolder, find_run, read_record
from pipeline.common.stages import STAGES
from pipeline.release.versions import RELEASE_FILE, model_digest, read_release, versions_in
from pipeline.report.options import REPORT_FILE

TAG = "ris."
"""Prefix of the names of all tags of this project."""
_SHOWN_FILES = (".json", ".png", ".html", ".toml", ".csv")
_MOST_BYTES = 20_000_000
_NO_METRICS = ("fingerprint", "options", "settings")  # these hold settings, not results


@dataclasses.dataclass(frozen=True)
class Scenes:
    """A set of scenes that a stage read or wrote.

    name: name of the set. digest: hash of its records. path: folder of the set.
    """

    name: str
    digest: str
    path: str


@dataclasses.dataclass(frozen=True)
class Record:
    """Record of a finished stage.

    stage: name of the stage.
    key: hash of everything recorded about it.
    folder: folder of its results, relative to the run.
    started_ms, finished_ms: milliseconds since 1970.
    params: options by dotted name.
    tags: code, inputs, outputs, command and more.
    scenes: sets of scenes it read or wrote.
    metrics: numbers by name.
    files: (file, folder among the artifacts).
    tensorboard: folder of the training curves; None without.
    model: folder of the SavedModel it wrote; None without.
    """

    stage: str
    key: str
    folder: str
    started_ms: int
    finished_ms: int
    params: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    scenes: tuple[Scenes, ...] = ()
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    files: tuple[tuple[Path, str], ...] = ()
    tensorboard: Path | None = None
    model: Path | None = None


@dataclasses.dataclass(frozen=True)
class Found:
    """Contents of a run's folder.

    root: the folder.
    records: records of the stages in pipeline order, for each stage the earliest first.
    left_out: messages on stages that are unfinished or whose results have changed.
    serving: folder of the pushed versions; None without.
    """

    root: Path
    records: tuple[Record, ...]
    left_out: tuple[str, ...]
    serving: Path | None


def find_records(root: Path, base_path: Path | None = None) -> Found:
    """Reads the records of a run's folder. base_path: folder of the pushed versions; None takes the one in serving/."""
    run = find_run(root)
    if base_path is None and len(run.versions) > 1:
        raise ValueError(f"--model-base-path: expected one of {', '.join(map(str, run.versions))}, got none")
    serving = base_path or next(iter(run.versions), None)
    found: list[Record] = []
    left_out = []
    for folder in run.manifests:
        try:
            found.append(_of_manifest(run, folder))
        except _Unfinished as error:
            left_out.append(str(error))
    found += _scenes_written(found)
    found += [_of_verdict(run, path) for path in run.verdicts if "fingerprint" in read_record(path)]
    found += _releases(serving, found)
    if (root / REPORT_FILE).is_file():
        found.append(_of_report(root))
    order = {stage: number for number, stage in enumerate(STAGES)}
    found.sort(key=lambda record: (order.get(record.stage, len(order)), record.finished_ms, record.folder))
    return Found(root, tuple(found), tuple(left_out), serving)


class _Unfinished(ValueError):
    """A stage is unfinished or its results have changed; the message names it."""


def _of_manifest(run: RunFolder, folder: Path) -> Record:
    """The record of a stage; raises `_Unfinished` if there is none."""
    manifest = read_manifest(folder)
    assert manifest is not None
    stage, outputs = manifest["fingerprint"]["stage"], manifest["outputs"]
    if outputs is None:
        raise _Unfinished(f"{stage} in {folder} is unfinished, so it is not tracked")
    tags, model = dict[str, str](), None
    if stage != "export":
        changed = damaged(folder, manifest)
    else:
        model, digest = folder.parent, outputs["model"]["sha256"]
        tags = {TAG + "model": digest, TAG + "exported": model.name}
        changed = None if model_digest(model) == digest else model.name
    if changed is not None:
        raise _Unfinished(f"{stage} in {folder} is not tracked: {changed} does not match its manifest")
    files = [folder / name for name in (MANIFEST, "config.json", *outputs)]
    curves = folder / TENSORBOARD
    record = _stage_record(manifest, str((model or folder).relative_to(run.root)), files)
    return dataclasses.replace(
        record,
        tags={**record.tags, **tags, **_verdict(files)},
        scenes=_scenes_read(manifest["fingerprint"]),
        metrics=_metrics(manifest["facts"], files),
        tensorboard=curves if curves.is_dir() else None,
        model=model,
    )


def _stage_record(manifest: Mapping[str, Any], folder: str, files: Iterable[Path]) -> Record:
    fingerprint = manifest["fingerprint"]
    times = (_milliseconds(manifest["started"]), _milliseconds(manifest["finished"]))
    shown = tuple(_shown(files))
    return Record(
        fingerprint["stage"], json_digest(manifest), folder, *times, _params(fingerprint), _tags(manifest), files=shown
    )


def _params(fingerprint: Mapping[str, Any]) -> dict[str, str]:
    options = fingerprint["options"]
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in options.items()}


def _tags(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Tags with everything else that determined the results, and with hashes of the results. The hash of the set
    stands for its TFRecord files."""
    fingerprint = manifest["fingerprint"]
    command = " ".join(map(str, manifest["command"]))
    found = {
        "fingerprint": manifest["digest"],
        "command": command,
        **{f"code.{name}": digest for name, digest in fingerprint["code"].items()},
        **{f"version.{name}": number for name, number in manifest["versions"].items()},
        **{f"input.{name}": digest for name, digest in fingerprint["inputs"].items()},
        **{f"output.{n}": record["sha256"] for n, record in manifest["outputs"].items() if ".tfrecord" not in n},
        **{f"fact.{name}": value for name, value in manifest["facts"].items() if isinstance(value, str)},
    }
    own = {_name(TAG + name): value for name, value in found.items()}
    commit = manifest["git_commit"]
    return own | {"mlflow.source.name": command} | ({"mlflow.source.git.commit": commit} if commit else {})


def _name(text: str) -> str:
    """Replaces characters that MLflow does not allow in names."""
    return re.sub(r"[^\w.\- :]", "_", text)


def _scenes_read(fingerprint: Mapping[str, Any]) -> tuple[Scenes, ...]:
    return tuple(
        Scenes(name.removeprefix(SCENES), digest, fingerprint["paths"].get(name, "path unknown"))
        for name, digest in fingerprint["inputs"].items()
        if name.startswith(SCENES)
    )


def _scenes_written(records: list[Record]) -> Iterator[Record]:
    """Records of the stages that simulated the scenes other stages read, one per set; removed sets are left out."""
    for scenes in sorted({scenes for record in records for scenes in record.scenes}, key=lambda found: found.path):
        folder = Path(scenes.path)
        manifest = read_manifest(folder)
        if manifest is not None and manifest["outputs"] is not None:
            yield dataclasses.replace(_stage_record(manifest, scenes.name, [folder / MANIFEST]), scenes=(scenes,))


def _of_verdict(run: RunFolder, path: Path) -> Record:
    """The record of a verdict that has a fingerprint of its own and is in the folder of another stage."""
    record, changed_ms = read_record(path), int(1000 * path.stat().st_mtime)
    fingerprint = record["fingerprint"]
    digests = {f"code.{name}": digest for name, digest in fingerprint["code"].items()}
    digests |= {f"input.{name}": digest for name, digest in fingerprint["inputs"].items()}
    return Record(
        fingerprint["stage"],
        json_digest(record),
        str(path.relative_to(run.root)),
        changed_ms,
        changed_ms,
        _params(fingerprint),
        {_name(TAG + name): value for name, value in digests.items()} | _verdict([path]),
        _scenes_read(fingerprint),
        _metrics({}, [path]),
        ((path, ""),),
    )


def _releases(serving: Path | None, records: list[Record]) -> Iterator[Record]:
    """Records of all pushes of models that the run exported, including withdrawn versions."""
    exported = {record.tags[TAG + "model"] for record in records if record.model is not None}
    for version in versions_in(serving) if serving is not None else ():
        release = read_release(version.path)
        if release is None or release["model"] not in exported:
            continue
        verdicts = {name: release[name]["verdict"] for name in ("blessing", "infra_validation")}
        found = {"version": str(version.number), "model": release["model"], "pushed": release["pushed"], **verdicts}
        pushed_ms, files = _milliseconds(release["pushed"]), ((version.path / RELEASE_FILE, ""),)
        tags = {TAG + name: value for name, value in found.items()}
        yield Record("push", json_digest(release), str(version.number), pushed_ms, pushed_ms, tags=tags, files=files)


def _of_report(root: Path) -> Record:
    page = root / REPORT_FILE
    changed_ms = int(1000 * page.stat().st_mtime)
    return Record("report", file_digest(page), REPORT_FILE, changed_ms, changed_ms, files=((page, ""),))


def _verdict(files: Iterable[Path]) -> dict[str, str]:
    """Tags with the verdict among a stage's files; empty without a verdict."""
    for record in _read(files):
        if "verdict" in record:
            reasons = record.get("reasons") or [record.get("reason", "")]
            return {TAG + "verdict": record["verdict"], TAG + "reason": "; ".join(map(str, reasons))}
    return {}


def _metrics(facts: Mapping[str, Any], files: Iterable[Path]) -> dict[str, float]:
    """All numbers in the facts and in the JSON files of a stage."""
    found = {name.removeprefix("metrics."): value for name, value in _numbers(facts)}
    for record in _read(files):
        found |= dict(_numbers(record))
    return found


def _read(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Reads the JSON objects among a stage's results."""
    for path in files:
        if path.suffix == ".json" and path.is_file() and path.name not in (MANIFEST, "config.json"):
            record = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(record, dict):
                yield record


def _numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, dict) and name not in _NO_METRICS:
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield _name(prefix + name), float(value)


def _shown(files: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Files that people read, up to `_MOST_BYTES`, and the pictures in folders."""
    for path in files:
        inside = [(found, path.name) for found in sorted(path.glob("*.png"))] if path.is_dir() else [(path, "")]
        for file, folder in inside:
            if file.suffix in _SHOWN_FILES and file.is_file() and file.stat().st_size <= _MOST_BYTES:
                yield file, folder


def _milliseconds(time: str) -> int:
    """Milliseconds since 1970 of a time from `pipeline.common.artifacts.now`."""
    return int(1000 * datetime.datetime.strptime(time, "%Y-%m-%dT%H:%M:%S%z").timestamp())
