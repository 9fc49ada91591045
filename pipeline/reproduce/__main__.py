"""Command line of `ris-mvdr reproduce`."""

import logging

from pipeline.common.main import FAIL, command
from pipeline.reproduce.names import names
from pipeline.reproduce.options import ReproduceOptions


@command("reproduce", ReproduceOptions, lambda options: options.folder / "logs")
def main(options: ReproduceOptions, logger: logging.Logger) -> int | None:
    """Measures and compares the figures, or lists the tables."""
    if options.list_tables:
        from pipeline.reproduce.claims import read_claims

        for name in names():
            logger.info(f"{name:12}{len(read_claims(name))} figures")
        return None
    from pipeline.reproduce.runner import reproduce

    return None if reproduce(options, logger) else FAIL


if __name__ == "__main__":
    main()
