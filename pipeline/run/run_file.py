"""The run file: a table for each stage, with the options of `ris-mvdr STAGE --help` as keys."""

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pipeline.common.hyperparameters import replaced
from pipeline.common.stages import RENAMED

Options = TypeVar("Options")
STAGES = (
    *("data", "validate", "train", "confidence", "learnability", "refine", "export", "evaluate"),
    *("bless", "infra_validate", "push", "mlflow", "locate"),
)
OPTIONAL = ("confidence", "learnability", "refine", "bless", "push", "mlflow", "locate")


@dataclasses.dataclass(frozen=True)
class RunFile:
    """Contents of a run file.

    path: the file.
    run_dir: folder of the run.
    installation: installation file for all stages; None for the installation of each set of scenes.
    tables: options by stage.
    """

    path: Path
    run_dir: Path
    installation: Path | None
    tables: Mapping[str, Mapping[str, Any]]

    def has(self, stage: str) -> bool:
        """Whether a stage is part of the run."""
        return stage in self.tables or stage not in OPTIONAL

    def told(self, stage: str, options: Options) -> Options:
        """Returns options of a stage, overridden by those in the file.

        Raises:
          ValueError: an option is unknown or invalid; the message names the file and the table.
        """
        try:
            return replaced(options, dict(_dotted(self.tables.get(stage, {}))))
        except ValueError as error:
            reason = str(error).removeprefix("hyperparameters: ")
            raise ValueError(f"{self.path}: [{stage}]: {reason}") from None


def _dotted(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def read_run_file(path: Path, run_dir: Path | None = None, installation: Path | None = None) -> RunFile:
    """Reads a run file.

    Args:
      path: the TOML file.
      run_dir: folder of the run; overrides run_dir in the file.
      installation: installation file; overrides installation in the file.

    Raises:
      ValueError: no TOML, or something in it that is no stage.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"expected a run's TOML file at {path}: {error}") from None
    folder, site = Path(given.pop("run_dir", Path("runs", path.stem))), given.pop("installation", None)
    for name, table in given.items():
        if name in RENAMED:
            raise ValueError(f"{path}: [{name}]: this table is now called [{RENAMED[name]}]")
        if name not in STAGES or not isinstance(table, dict):
            raise ValueError(f"{path}: expected run_dir, installation and tables of {', '.join(STAGES)}, got {name!r}")
    return RunFile(path, run_dir or folder, installation or (None if site is None else Path(site)), given)
