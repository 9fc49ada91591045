"""Lineage of a file: the manifests of all stages that contributed to it, linked by hashes."""

from pathlib import Path
from typing import Any

from pipeline.common.artifacts import origin, read_manifest
from pipeline.release.versions import EXPORT_FILE


def manifests_behind(path: Path) -> list[dict[str, Any]]:
    """Manifests of the stage that wrote a file or folder and of all stages before it, nearest first, without repeats.

    A chain ends at an input that no stage wrote, or that was changed or removed since. Its hash is still in the
    manifest of the stage that read it.
    """
    found: dict[str, dict[str, Any]] = {}
    waiting = [path]
    while waiting:
        place = waiting.pop(0)
        manifest = _manifest_of(place)
        if manifest is None or manifest["digest"] in found:
            continue
        found[manifest["digest"]] = manifest
        waiting += [Path(text) for text in manifest["fingerprint"]["paths"].values()]
    return list(found.values())


def _manifest_of(path: Path) -> dict[str, Any] | None:
    """The manifest of the stage that wrote a path; for a set of scenes or an exported model, the one inside it."""
    try:
        found = origin(path)
        if found is None and path.is_dir():
            found = read_manifest(path) or read_manifest(path / EXPORT_FILE.parent)
        return found
    except ValueError:
        return None
