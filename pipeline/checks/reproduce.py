"""`python -m pipeline.checks.reproduce`: the figures of README and docs, measured anew; docs/reproduce.md."""

import dataclasses
import logging
from pathlib import Path
from typing import Annotated

import tyro

from pipeline.common.main import FAIL, run_stage
from pipeline.reproduction.names import names

QUICK_SCENES = 60


@dataclasses.dataclass(frozen=True)
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


def work(options: ReproduceOptions, logger: logging.Logger) -> int | None:
    """Measures and compares, or lists."""
    if options.list_tables:
        from pipeline.reproduction.claims import read_claims

        for name in names():
            logger.info(f"{name:12}{len(read_claims(name))} figures")
        return None
    from pipeline.reproduction.running import reproduce

    return None if reproduce(options, logger) else FAIL


def main() -> None:
    """Command line entry point."""
    run_stage("reproduce", ReproduceOptions, work, lambda options: options.folder / "logs")


if __name__ == "__main__":
    main()
