"""`python -m pipeline.run CONFIG.toml`: from a file to a pushed model; every step cached, recorded and safe to kill."""

import dataclasses
import logging
from pathlib import Path
from typing import Annotated

import tyro

from pipeline.common.main import run_stage


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Runs the stages that a file names, each a process of its own; killed, the same command goes on.

    A stage whose options, inputs and code have not changed is not run again. One whose folder holds the results of
    others stops the run before anything is touched.
    """

    config: tyro.conf.Positional[Path]
    """TOML: run_dir, installation, and a table for each stage, [data], [train] and so on, with its options as keys.
    [score], [learnability], [refine], [bless], [push], [track] and [locate] run only where there is a table."""
    run_dir: Path | None = None
    """Where everything goes, in place of the file's run_dir."""
    installation: Path | None = None
    """An installation file that everything is for, docs/installation.md, in place of the file's."""
    plan: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Shows the plan and stops."""


def run_directory(options: RunOptions) -> Path:
    """Where everything goes.

    Raises:
      ValueError: the file is no run's.
    """
    from pipeline.running.run_file import read_run_file

    return read_run_file(options.config, options.run_dir).run_dir


def work(options: RunOptions, logger: logging.Logger) -> int | None:
    """Does what is left to do."""
    from pipeline.running.execution import run

    return run(options, logger)


def main() -> None:
    """Command line entry point; exit status 1 where a verdict stopped the run, 2 where a stage failed."""
    run_stage("run", RunOptions, work, lambda options: run_directory(options) / "logs")


if __name__ == "__main__":
    main()
