"""`python -m pipeline.checks.lineage`: data, configuration, code and parents of a version, and the way back."""

import dataclasses
import logging
from pathlib import Path

import tyro

from pipeline.common.main import run_stage


@dataclasses.dataclass(frozen=True)
class LineageOptions:
    """Tells where a pushed version comes from; or, with --of, which versions come from something."""

    version: tyro.conf.Positional[str] = ""
    """A version by number or label; left out, the one that is served."""
    model_base_path: Path = Path("runs/serving/ris_localizer")
    """Folder of the versions."""
    of: str | None = None
    """A file or folder, or a hash or its first digits: lists the versions with that behind them."""
    log_dir: Path = Path("runs/logs")
    """Where the log goes."""


def work(options: LineageOptions, logger: logging.Logger) -> None:
    """Tells."""
    from pipeline.release.lineage import answer

    for line in answer(options):
        logger.info(line)


def main() -> None:
    """Command line entry point."""
    run_stage("lineage", LineageOptions, work, lambda options: options.log_dir)


if __name__ == "__main__":
    main()
