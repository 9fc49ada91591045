"""Command line of `ris-mvdr run`."""

import logging
from pathlib import Path

from pipeline.common.main import run_stage
from pipeline.run.options import RunOptions


def run_directory(options: RunOptions) -> Path:
    """The folder of the run.

    Raises:
      ValueError: the file is not a run file.
    """
    from pipeline.run.run_file import read_run_file

    return read_run_file(options.config, options.run_dir).run_dir


def work(options: RunOptions, logger: logging.Logger) -> int | None:
    """Does what is left to do."""
    from pipeline.run.execution import run

    return run(options, logger)


def main() -> None:
    """Command line entry point; exit status 1 where a verdict stopped the run, 2 where a stage failed."""
    run_stage("run", RunOptions, work, lambda options: run_directory(options) / "logs")


if __name__ == "__main__":
    main()
