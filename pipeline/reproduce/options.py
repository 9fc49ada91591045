"""Options of `ris-mvdr reproduce`."""

from pathlib import Path
from typing import Annotated

import tyro

from models.checked import stage_options
from pipeline.reproduce.names import names

QUICK_SCENES = 60


@stage_options(frozen=True)
class ReproduceOptions:
    """Measures the figures in a table of README or docs again and checks each: PASS or FAIL.

    The exit status is 1 if one differs. If interrupted, the same command resumes.
    """

    table: tyro.conf.Positional[str] = "all"
    """Table, one of --list, or all."""
    quick: bool = False
    """Uses the first 60 test scenes per data set. Default: as many as the page states."""
    output_dir: Path | None = None
    """Folder of reproduction.json, cells/, config.json, logs/. Default: runs/reproduce/TABLE, or TABLE_quick."""
    list_tables: Annotated[bool, tyro.conf.arg(name="list")] = False
    """Lists the tables and stops."""

    def __post_init__(self) -> None:
        if self.table not in ("all", *names()):
            raise ValueError(f"TABLE: expected all or one of {', '.join(names())}, got {self.table!r}")

    @property
    def folder(self) -> Path:
        """Output folder, with the default filled in."""
        return self.output_dir or Path("runs") / "reproduce" / f"{self.table}{'_quick' if self.quick else ''}"
