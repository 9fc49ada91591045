"""Finds the parts of a run folder by file names. Nothing large is read."""

import dataclasses
from pathlib import Path
from typing import Any

from models.checked import read_json
from pipeline.common.artifacts import MANIFEST

VERDICT_FILES = ("validation.json", "learnability.json", "blessing.json", "infra_validation.json")
CALIBRATION_FILE = "calibration.npz"
TENSORBOARD = "tensorboard"
_EXPORTED = "export/*/*/assets.extra"  # an exported model contains its own manifest
_EVALUATION = ("metrics.json", "scenes.npz")


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The parts of a run folder.

    evaluation: folder with metrics.json and scenes.npz. trainings: folders with tensorboard/. manifests: folders with a
    manifest.json. verdicts: JSON files. calibration: file. versions: folders of deployed model versions.
    """

    root: Path
    evaluation: Path | None
    trainings: tuple[Path, ...]
    manifests: tuple[Path, ...]
    verdicts: tuple[Path, ...]
    calibration: Path | None
    versions: tuple[Path, ...]


def find_run(root: Path) -> RunFolder:
    """Finds the parts of a run in a folder and its direct subfolders; ValueError if it is not a run folder."""
    if not root.is_dir():
        raise ValueError(f"RUN: expected the folder of an evaluation, a training or a run, got none at {root}")
    inside = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    folders = (root, *inside)
    calibrations = [folder / CALIBRATION_FILE for folder in folders if (folder / CALIBRATION_FILE).is_file()]
    found = RunFolder(
        root,
        _evaluation(root, inside),
        tuple(folder for folder in folders if (folder / TENSORBOARD).is_dir()),
        tuple(folder for folder in (*folders, *sorted(root.glob(_EXPORTED))) if (folder / MANIFEST).is_file()),
        tuple(folder / name for name in VERDICT_FILES for folder in folders if (folder / name).is_file()),
        calibrations[0] if calibrations else None,
        tuple(path for path in sorted((root / "serving").glob("*")) if path.is_dir() and path.name != "logs"),
    )
    if found.evaluation is None and not (found.trainings or found.manifests or calibrations):
        raise ValueError(
            f"RUN: expected the folder of an evaluation, a training or a run, got {root}, which has no "
            f"{' with '.join(_EVALUATION)}, no {TENSORBOARD}/, no {MANIFEST} and no {CALIBRATION_FILE}"
        )
    return found


def is_evaluation(folder: Path) -> bool:
    """Whether a folder holds a finished evaluation."""
    return all((folder / name).is_file() for name in _EVALUATION)


def _evaluation(root: Path, inside: list[Path]) -> Path | None:
    """The folder itself if it is an evaluation, else its subfolder evaluation/, else the only evaluation in it."""
    if is_evaluation(root):
        return root
    found = [folder for folder in inside if is_evaluation(folder)]
    own = [folder for folder in found if folder.name == "evaluation"]
    if len(own or found) > 1:
        raise ValueError(f"RUN: expected one evaluation in {root}, got {', '.join(map(str, found))}; name one of them")
    return next(iter(own or found), None)


def read_record(path: Path) -> dict[str, Any]:
    """Reads a JSON object that a stage wrote."""
    found: dict[str, Any] = read_json(path, dict[str, Any])
    return found
