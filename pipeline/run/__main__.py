"""Command line of `ris-mvdr run`."""

import logging
from pathlib import Path

from pipeline.common.main import command
from pipeline.run.options import RunOptions


def run_directory(options: RunOptions) -> Path:
    """The folder of the run."""
    from pipeline.run.run_file import read_run_file

    return read_run_file(options.config, options.run_dir).run_dir


@command("run", RunOptions, lambda options: run_directory(options) / "logs")
def main(options: RunOptions, logger: logging.Logger) -> int | None:
    """Runs the remaining stages; the exit status is 1 if a verdict stops the run, 2 if a stage fails."""
    from pipeline.run import processes

    if not options.plan:
        processes.start()
    from pipeline.run.execution import run

    return run(options, logger)


if __name__ == "__main__":
    main()
