"""The run file: a table for each stage, with the options of `ris-mvdr STAGE --help` as keys."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic
from typing_extensions import TypedDict

from models.checked import read_toml
from models.physics.installation import InstallationFile
from pipeline.common.hyperparameters import replaced
from pipeline.common.stages import RENAMED

Options = TypeVar("Options")
STAGES = (
    *("data", "validate", "train", "confidence", "learnability", "refine", "export", "evaluate"),
    *("bless", "infra_validate", "push", "mlflow", "locate"),
)
OPTIONAL = ("confidence", "learnability", "refine", "bless", "push", "mlflow", "locate")


class _Told(TypedDict, total=False):
    __pydantic_config__ = pydantic.ConfigDict(strict=True, extra="allow")  # type: ignore[misc]  # tables of the stages
    run_dir: Path
    installation: InstallationFile


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

    def applied_to(self, stage: str, options: Options) -> Options:
        """Returns options of a stage, overridden by those in the file; error messages name the file and the table."""
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
    """Reads a run file, TOML. `run_dir` and `installation` override those in the file."""
    told: _Told = read_toml(path, _Told)
    folder, site = run_dir or told.get("run_dir", Path("runs", path.stem)), installation or told.get("installation")
    tables: dict[str, Any] = {name: table for name, table in told.items() if name not in _Told.__annotations__}
    for name, table in tables.items():
        if name in RENAMED:
            raise ValueError(f"{path}: [{name}]: this table is now called [{RENAMED[name]}]")
        if name not in STAGES or not isinstance(table, dict):
            raise ValueError(f"{path}: expected run_dir, installation and tables of {', '.join(STAGES)}, got {name!r}")
    return RunFile(path, folder, site, tables)
