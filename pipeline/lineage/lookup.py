"""Looks up what a pushed version was made from, and which versions were made from something."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.common.artifacts import output_digest
from pipeline.lineage.options import LineageOptions
from pipeline.release.versions import number_of, read_release, served_version, versions_in

_SHOWN = 12


def describe(release: Mapping[str, Any]) -> Iterator[str]:
    """Describes a release: the model, its verdicts, and every stage behind it with inputs and outputs."""
    yield f"version {release['version']}, model {release['model'][:_SHOWN]}, pushed {release['pushed']}"
    blessing = release["blessing"]
    yield f"  {blessing['verdict']} on test scenes {blessing['test_scenes']} of {', '.join(blessing['config'])}"
    yield from (f"    {check['reason']}" for check in blessing["checks"])
    infra = release["infra_validation"]
    yield f"  {infra['verdict']}: {infra['latency_ms']:.0f} ms per request, {infra['memory_mib']:.0f} MiB"
    for manifest in release["manifests"]:
        yield from _describe_stage(manifest)


def _describe_stage(manifest: Mapping[str, Any]) -> Iterator[str]:
    fingerprint = manifest["fingerprint"]
    yield f"{fingerprint['stage']}, run {manifest['digest'][:_SHOWN]}, finished {manifest['finished']}"
    yield f"  command: {' '.join(map(str, manifest['command']))}"
    yield f"  code: {fingerprint['code']['code'][:_SHOWN]}, commit {manifest['git_commit'] or 'unknown'}"
    for name, digest in fingerprint["inputs"].items():
        yield f"  read {name}: {digest[:_SHOWN]}, {fingerprint['paths'].get(name, 'path unknown')}"
    for name, record in (manifest["outputs"] or {}).items():
        yield f"  wrote {name}: {record['sha256'][:_SHOWN]}"
    for name, value in fingerprint["options"].items():
        yield f"  {name} = {value}"
    for name, value in manifest["facts"].items():
        yield f"  {name}: {value}"


def versions_made_from(base_path: Path, digest: str) -> list[int]:
    """Versions made from something with this hash, or first digits of it: a model, weights, scenes, code or a run."""
    releases = {version.number: read_release(version.path) for version in versions_in(base_path)}
    return [number for number, made in releases.items() if made and any(d.startswith(digest) for d in _digests(made))]


def _digests(release: Mapping[str, Any]) -> Iterator[str]:
    yield release["model"]
    for manifest in release["manifests"]:
        yield manifest["digest"]
        yield from manifest["fingerprint"]["inputs"].values()
        yield from manifest["fingerprint"]["code"].values()
        yield from (record["sha256"] for record in (manifest["outputs"] or {}).values())


def lineage_lines(options: LineageOptions) -> Iterator[str]:
    """Yields the output of `python -m pipeline.lineage`."""
    if options.of is not None:
        digest = output_digest(Path(options.of)) if Path(options.of).exists() else options.of
        found = versions_made_from(options.model_base_path, digest)
        made = f"versions {', '.join(map(str, found))}" if found else "no version"
        yield f"{digest[:12]} is an input of {made} in {options.model_base_path}"
        return
    known = {version.number: version for version in versions_in(options.model_base_path)}
    served = served_version(options.model_base_path)
    wanted = options.version or (str(served.number) if served is not None else "")
    path = known[number_of(options.model_base_path, wanted, "version")].path
    release = read_release(path)
    if release is None:
        raise ValueError(f"version: expected one that python -m pipeline.push wrote, got {path}")
    yield from describe(release)
