"""JSON files of a stage, written atomically, and a record of the options and versions it ran with."""

import contextlib
import dataclasses
import importlib.metadata
import json
import math
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from serving.client.files import replacing

_PACKAGES = ("numpy", "scipy", "tensorflow", "keras", "tensorflow-datasets", "tensorflow-serving-api", "ris-mvdr")


def plain(value: Any) -> Any:
    """Converts a value to JSON types: paths to text, dataclasses to dictionaries, NaN and infinity to None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def write_json(path: Path, value: Any) -> None:
    """Writes `plain(value)` as JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(plain(value), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def git_commit() -> str | None:
    """Git commit of this code, followed by "-dirty" if files were changed; None outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write_config(path: Path, options: Any) -> None:
    """Writes the options, command line, package versions, git commit and start time of a stage."""
    record = {
        "options": options,
        "command": sys.argv,
        "versions": versions(),
        "git_commit": git_commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_json(path, record)
