"""Command line of `ris-mvdr lineage`."""

import logging

from pipeline.common.main import command
from pipeline.lineage.options import LineageOptions


@command("lineage", LineageOptions, lambda options: options.log_dir)
def main(options: LineageOptions, logger: logging.Logger) -> None:
    """Prints the lineage."""
    from pipeline.lineage.lookup import lineage_lines

    for line in lineage_lines(options):
        logger.info(line)


if __name__ == "__main__":
    main()
