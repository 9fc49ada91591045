"""What a run's folder holds, by the files in it: nothing heavy is read yet."""

import dataclasses
from pathlib import Path
from typing import Any

from models.checked import read_json
from pipeline.common.artifacts import MANIFEST

VERDICT_FILES = ("validation.json", "learnability.json", "blessing.json", "infra_validation.json")
CALIBRATION_FILE = "calibration.npz"
TENSORBOARD = "tensorboard"
_EXPORTED = "export/*/*/assets.extra"  # of a run: what is staged has its manifest inside
_EVALUATION = ("metrics.json", "scenes.npz")


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The parts of a run.

    root: its folder. evaluation: folder with metrics.json and scenes.npz, None without. trainings: folders with
    tensorboard/. manifests: folders with a manifest.json. verdicts: files of verdicts. calibration: a calibration file,
    None without. versions: folders that pushed versions lie in.
    """

    root: Path
    evaluation: Path | None
    trainings: tuple[Path, ...]
    manifests: tuple[Path, ...]
    verdicts: tuple[Path, ...]
    calibration: Path | None
    versions: tuple[Path, ...]


def find_run(root: Path) -> RunFolder:
    """Looks into a folder and the folders in it.

    Raises:
      ValueError: it is no run's, or holds several evaluations.
    """
    if not root.is_dir():
        raise ValueError(f"RUN: expected the folder of an evaluation, a training or a run, got none at {root}")
    inside = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    rooms = (root, *inside)
    calibrations = [room / CALIBRATION_FILE for room in rooms if (room / CALIBRATION_FILE).is_file()]
    found = RunFolder(
        root,
        _evaluation(root, inside),
        tuple(room for room in rooms if (room / TENSORBOARD).is_dir()),
        tuple(room for room in (*rooms, *sorted(root.glob(_EXPORTED))) if (room / MANIFEST).is_file()),
        tuple(room / name for name in VERDICT_FILES for room in rooms if (room / name).is_file()),
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
    """The folder itself; else the run's own evaluation/; else the only one in it."""
    if is_evaluation(root):
        return root
    found = [folder for folder in inside if is_evaluation(folder)]
    own = [folder for folder in found if folder.name == "evaluation"]
    if len(own or found) > 1:
        raise ValueError(f"RUN: expected one evaluation in {root}, got {', '.join(map(str, found))}; name one of them")
    return next(iter(own or found), None)


def read_record(path: Path) -> dict[str, Any]:
    """A stage's JSON.

    Raises:
      ValueError: no such file, or another one.
    """
    found: dict[str, Any] = read_json(path, dict[str, Any])
    return found
