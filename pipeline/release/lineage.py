"""Where a version comes from: the manifests of every stage behind it, followed from hash to hash."""

from pathlib import Path
from typing import Any

from pipeline.common.artifacts import origin, read_manifest
from pipeline.release.versions import EXPORT_FILE


def manifests_behind(path: Path) -> list[dict[str, Any]]:
    """Manifests of the stage that left a file or folder, and of all stages before it, each once, the nearest first.

    A chain ends where an input came from no stage, or was changed or removed since: its hash is known all the same.
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
    """Of what left a file or folder; of a set of scenes or an exported version, the one in its folder."""
    try:
        found = origin(path)
        if found is None and path.is_dir():
            found = read_manifest(path) or read_manifest(path / EXPORT_FILE.parent)
        return found
    except ValueError:
        return None
