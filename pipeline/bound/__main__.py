"""Command line of `ris-mvdr bound`."""

import logging

from pipeline.bound.options import BoundOptions
from pipeline.common.main import run_stage


def work(options: BoundOptions, logger: logging.Logger) -> None:
    """Computes the table and prints it."""
    from pipeline.bound.bounding import bound

    bound(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("bound", BoundOptions, work, lambda options: options.log_dir)


if __name__ == "__main__":
    main()
