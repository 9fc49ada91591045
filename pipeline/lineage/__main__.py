"""Command line of `ris-mvdr lineage`."""

import logging

from pipeline.common.main import run_stage
from pipeline.lineage.options import LineageOptions


def work(options: LineageOptions, logger: logging.Logger) -> None:
    """Tells."""
    from pipeline.lineage.answering import answer

    for line in answer(options):
        logger.info(line)


def main() -> None:
    """Command line entry point."""
    run_stage("lineage", LineageOptions, work, lambda options: options.log_dir)


if __name__ == "__main__":
    main()
