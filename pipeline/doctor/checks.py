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
    """What was looked at, whether it is as it should be, and what was found."""

    name: str
    holds: bool
    said: str


def checks(options: DoctorOptions) -> Iterator[Check]:
    """Every check there is, in order; none raises."""
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
        except Exception as error:  # whatever is wrong is what is to be said
            yield Check(name, False, str(error).strip().partition("\n")[0])


def _python() -> str:
    asked, there = importlib.metadata.metadata(_DISTRIBUTION)["Requires-Python"], platform.python_version()
    if there not in SpecifierSet(asked):
        raise ValueError(f"expected {asked}, got {there}")
    return there


def _packages() -> str:
    """Every requirement that is not of an extra, at a version that fits."""
    requirements = [Requirement(text) for text in importlib.metadata.requires(_DISTRIBUTION) or ()]
    wanted = [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = []
    for one in wanted:
        try:
            there = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            there = "none"
        if there == "none" or there not in one.specifier:
            wrong.append(f"{one.name}: expected {one.specifier}, got {there}")
    if wrong:
        raise ValueError("; ".join(wrong))
    return f"{len(wanted)} at versions that fit, tensorflow {importlib.metadata.version('tensorflow')}"


def _disk(folder: Path, free_gb: float) -> str:
    there = shutil.disk_usage(folder).free / 1e9
    if not os.access(folder, os.W_OK):
        raise ValueError(f"expected to write in {folder}, got a folder that is read only")
    if there < free_gb:
        raise ValueError(f"expected {free_gb:g} GB free in {folder}, got {there:.1f} GB")
    return f"{there:.0f} GB free in {folder}"


def _server(target: str, model_name: str) -> str:
    from serving.client import LocalizerClient

    with LocalizerClient(target, model_name) as client:
        if not client.ready():
            raise ValueError(f"expected {target} to serve {model_name}, got no answer or none that serves")
        return f"{target} serves {model_name}"
