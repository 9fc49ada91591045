"""Command line of `ris-mvdr reproduce`."""

import logging

from pipeline.common.main import FAIL, run_stage
from pipeline.reproduce.names import names
from pipeline.reproduce.options import ReproduceOptions


def work(options: ReproduceOptions, logger: logging.Logger) -> int | None:
    """Measures and compares the figures, or lists the tables."""
    if options.list_tables:
        from pipeline.reproduce.claims import read_claims

        for name in names():
            logger.info(f"{name:12}{len(read_claims(name))} figures")
        return None
    from pipeline.reproduce.runner import reproduce

    return None if reproduce(options, logger) else FAIL


def main() -> None:
    """Command line entry point."""
    run_stage("reproduce", ReproduceOptions, work, lambda options: options.folder / "logs")


if __name__ == "__main__":
    main()
