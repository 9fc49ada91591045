"""Options of `ris-mvdr reproduce`."""

from pathlib import Path
from typing import Annotated

import tyro

from models.checked import stage_options
from pipeline.reproduce.names import names

QUICK_SCENES = 60


@stage_options(frozen=True)
class ReproduceOptions:
    """Measures the figures of a table of README or docs anew and says of each whether the two agree.

    Ends with status 1 if one does not. Run again after a kill, it goes on with what is missing.
    """

    table: tyro.conf.Positional[str] = "all"
    """Which table, as --list names them, or all."""
    quick: bool = False
    """The first 60 test scenes of each set; else as many as the page says."""
    output_dir: Path | None = None
    """Where reproduction.json, cells/, config.json and logs/ go; left out, runs/reproduce/TABLE, or TABLE_quick."""
    list_tables: Annotated[bool, tyro.conf.arg(name="list")] = False
    """Says which tables there are, and does nothing else."""

    def __post_init__(self) -> None:
        if self.table not in ("all", *names()):
            raise ValueError(f"TABLE: expected all or one of {', '.join(names())}, got {self.table!r}")

    @property
    def folder(self) -> Path:
        """Where it all goes."""
        return self.output_dir or Path("runs") / "reproduce" / f"{self.table}{'_quick' if self.quick else ''}"
