"""Tables of the report: summary, differences, verdicts, deployed versions, lineage and commands."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.common.artifacts import MANIFEST, read_manifest
from pipeline.common.run_folders import RunFolder, read_record
from pipeline.common.stages import STAGES, module
from pipeline.release.lineage import manifests_behind
from pipeline.release.versions import read_labels, read_release, versions_in
from pipeline.report.evaluations import Stored
from pipeline.report.parts import Listing, Part, Section, Table

_DIGITS = 12  # digits of a hash to show
_UNKNOWN = "\N{EN DASH}"
_LEARNABILITY = "learnability.json"


def headline(shown: Sequence[Stored]) -> Section:
    """The section with the main metrics, one column for each evaluation, and paired differences."""
    confidence = shown[0].metrics["settings"]["confidence"]
    rows = [[title, *(read(item.metrics) for item in shown)] for title, read in _FIGURES.items()]
    rows.insert(0, ["estimator", *(item.estimator for item in shown)])
    caption = f"Hits are counted at the standard gate. In brackets: {confidence:.0%} bootstrap intervals over scenes."
    table = Table("headline", "Metrics", caption, ["", *(item.name for item in shown)], rows)
    return Section("headline", "Summary", [table, *_differences(shown)])


def _in_brackets(found: Mapping[str, Any], key: str, unit: str = "") -> str:
    bounds = found.get(f"{key}_interval")
    known = "" if bounds is None or None in bounds else f" [{bounds[0]:.3f}, {bounds[1]:.3f}]"
    return _value(found[key], unit) + known


def _value(value: float | None, unit: str = "") -> str:
    return _UNKNOWN if value is None else f"{value:.3f}{unit}"


_FIGURES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "F1": lambda metrics: _in_brackets(metrics["standard"], "f1"),
    "precision": lambda metrics: _in_brackets(metrics["standard"], "precision"),
    "recall": lambda metrics: _in_brackets(metrics["standard"], "recall"),
    "F1, strict gate": lambda metrics: _in_brackets(metrics["strict"], "f1"),
    "position error, median": lambda metrics: _value(metrics["median_position_error_m"], " m"),
    "position error, root mean square": lambda metrics: _in_brackets(metrics, "rmse_xyz_m", " m"),
    "calibration error of the score": lambda metrics: _value(
        (metrics.get("calibration") or {}).get("expected_calibration_error")
    ),
    "correct number of sources": lambda metrics: _value(metrics["num_sources_accuracy"]),
    "scenes": lambda metrics: f"{metrics['scenes']}",
}


def _differences(shown: Sequence[Stored]) -> Iterator[Table]:
    """Table of the differences to each other evaluation on the same scenes."""
    names = {"f1": "F1", "strict_f1": "F1, strict gate", "rmse_xyz_m": "position error, root mean square, m"}
    others = [(item.name, found) for item in shown[1:] if (found := shown[0].minus(item)) is not None]
    if others:
        rows = [[title, *(f"{found[key]:+.3f}" for _, found in others)] for key, title in names.items()]
        caption = f"{shown[0].name} minus another evaluation on the same scenes, with paired bootstrap intervals."
        yield Table("differences", "Differences", caption, ["", *(f"minus {name}" for name, _ in others)], rows)


def verdicts(run: RunFolder) -> Iterator[Part]:
    """Tables of the verdicts of all checks and of the result of the learnability check."""
    rows = []
    for path in run.verdicts:
        record = read_record(path)
        reasons = [check["reason"] for check in record.get("checks") or []] or record.get("reasons") or []
        reason = record.get("reason") or "; ".join(map(str, reasons))
        rows.append([path.stem.replace("_", " "), str(record.get("verdict")), str(reason or _UNKNOWN)])
    if rows:
        yield Table("verdicts", "Verdicts", "Verdict and reason of each check.", ["", "verdict", "reason"], rows)
    for path in run.verdicts:
        if path.name == _LEARNABILITY:
            yield _learned(path)


def _learned(path: Path) -> Table:
    record = read_record(path)
    try:
        scores = {name.replace("_", " "): (one["f1"], one["objective"]) for name, one in record["scores"].items()}
        low, high = record["validation_scenes"]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError(f"{path.name}: expected a record of ris-mvdr learnability at {path}") from None
    rows = [[name, _value(f1), _value(objective)] for name, (f1, objective) in scores.items()]
    caption = (
        f"The trained backbone compared with others on {high - low} validation scenes that were not used to select it; "
        "a lower objective is better."
    )
    return Table("learned", "Learnability", caption, ["", "F1", "objective"], rows)


def lineage(run: RunFolder, compared: Sequence[Path], page_command: str) -> Section:
    """The section with verdicts, deployed versions, stages and commands; `compared`: evaluations to compare with."""
    folders = (*run.manifests, *(folder for folder in compared if (folder / MANIFEST).is_file()))
    stages = _stages(folders)
    parts: list[Part] = [*verdicts(run), *_versions(run)]
    if stages:
        parts.append(_lineage(stages))
    return Section("lineage", "Lineage", [*parts, _commands(folders, stages, page_command)])


def _versions(run: RunFolder) -> Iterator[Table]:
    rows = []
    for base_path in run.versions:
        labels = read_labels(base_path)
        for version in versions_in(base_path):
            release = read_release(version.path) or {}
            named = [label for label, number in labels.items() if number == version.number]
            state = ", ".join([*named, *(["withdrawn"] if version.withdrawn else [])]) or _UNKNOWN
            model, pushed = str(release.get("model", _UNKNOWN))[:_DIGITS], str(release.get("pushed", _UNKNOWN))
            rows.append([f"{base_path.name} {version.number}", state, model, pushed])
    if rows:
        caption = "Versions in the folder that a model server watches, with the hash of the model in each."
        yield Table("versions", "Deployed versions", caption, ["version", "label", "model", "pushed"], rows)


def _stages(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Manifests in the folders and of all earlier stages, in the order of `STAGES`."""
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        own = read_manifest(folder)
        assert own is not None
        behind = [manifest for name in own["outputs"] or () for manifest in manifests_behind(folder / name)]
        found |= {manifest["digest"]: manifest for manifest in (own, *behind)}
    order = {name: number for number, name in enumerate(STAGES)}
    return sorted(found.values(), key=lambda one: (order.get(one["fingerprint"]["stage"], len(order)), one["started"]))


def _lineage(stages: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for manifest in stages:
        inputs = manifest["fingerprint"]["inputs"]
        outputs = {name: one["sha256"] for name, one in (manifest["outputs"] or {}).items()}
        run, finished = manifest["digest"][:_DIGITS], manifest["finished"] or "not finished"
        commit = (manifest["git_commit"] or "unknown")[:_DIGITS]
        rows.append([manifest["fingerprint"]["stage"], run, finished, commit, _hashes(inputs), _hashes(outputs)])
    caption = "Every stage of this run with the hash of its options, inputs and code, and the hashes of all files."
    return Table("stages", "Stages", caption, ["stage", "run", "finished", "commit", "inputs", "outputs"], rows)


def _hashes(digests: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {digest[:_DIGITS]}" for name, digest in digests.items()) or _UNKNOWN


def command(stage: str, arguments: Sequence[str]) -> str:
    """The command line of a stage."""
    return f"python -m {module(stage)} {shlex.join(map(str, arguments))}".rstrip()


def _commands(folders: Sequence[Path], stages: Sequence[Mapping[str, Any]], page_command: str) -> Listing:
    own = [command(manifest["fingerprint"]["stage"], manifest["command"][1:]) for manifest in stages]
    caption = "The commands of this run in order, for the commits above. Stages with complete results are not repeated."
    return Listing("commands", "Commands", caption, [*_scene_commands(folders), *own, page_command])


def _scene_commands(folders: Sequence[Path]) -> list[str]:
    """Commands that simulate the scenes that the stages read; they are not in a manifest."""
    found: dict[str, None] = {}
    for folder in folders:
        config = folder / "config.json"
        used = read_record(config).get("options", {}) if config.is_file() else {}
        if {"config", "data_dir"} <= set(used):
            names = [used["config"]] if isinstance(used["config"], str) else used["config"]
            found |= {command("data", ["--config", name, "--data-dir", used["data_dir"]]): None for name in names}
    return list(found)
