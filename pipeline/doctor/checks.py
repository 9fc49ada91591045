"""The checks of `python -m pipeline.doctor`."""

import dataclasses
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pipeline.common.digests import keras_digest
from pipeline.doctor.options import DoctorOptions

_DISTRIBUTION = "ris-mvdr"


@dataclasses.dataclass(frozen=True)
class Check:
    """Result of a check: its name, whether it passed, and details."""

    name: str
    holds: bool
    said: str


def checks(options: DoctorOptions) -> Iterator[Check]:
    """Runs all checks in order. A check that raises counts as failed."""
    looks: dict[str, Callable[[], str]] = {
        "python": _python,
        "packages": _packages,
        "disk": lambda: _disk(options.runs, options.free_gb),
        "weights": lambda: f"{options.weights}, {keras_digest(options.weights)[:12]}",
    }
    if options.target is not None:
        target = options.target
        looks["server"] = lambda: _server(target, options.model_name)
    for name, look in looks.items():
        try:
            yield Check(name, True, look())
        except Exception as error:  # any error is the result of the check
            yield Check(name, False, str(error).strip().partition("\n")[0])


def _python() -> str:
    required, version = importlib.metadata.metadata(_DISTRIBUTION)["Requires-Python"], platform.python_version()
    if version not in SpecifierSet(required):
        raise ValueError(f"expected {required}, got {version}")
    return version


def _packages() -> str:
    """Checks the versions of all requirements except those of extras."""
    requirements = [Requirement(text) for text in importlib.metadata.requires(_DISTRIBUTION) or ()]
    wanted = [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = []
    for one in wanted:
        try:
            version = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            version = "none"
        if version == "none" or version not in one.specifier:
            wrong.append(f"{one.name}: expected {one.specifier}, got {version}")
    if wrong:
        raise ValueError("; ".join(wrong))
    return f"{len(wanted)} packages at suitable versions, tensorflow {importlib.metadata.version('tensorflow')}"


def _disk(folder: Path, free_gb: float) -> str:
    available_gb = shutil.disk_usage(folder).free / 1e9
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{folder}: expected a writable folder, got a read-only one")
    if available_gb < free_gb:
        raise ValueError(f"expected {free_gb:g} GB free in {folder}, got {available_gb:.1f} GB")
    return f"{available_gb:.0f} GB free in {folder}"


def _server(target: str, model_name: str) -> str:
    from serving.client import LocalizerClient

    with LocalizerClient(target, model_name) as client:
        if not client.ready():
            raise ValueError(f"expected {target} to serve {model_name}, got no answer, or a model that is not served")
        return f"{target} serves {model_name}"
