"""Command line of `ris-mvdr bound`."""

import logging

from pipeline.bound.options import BoundOptions
from pipeline.common.main import command


@command("bound", BoundOptions, lambda options: options.log_dir)
def main(options: BoundOptions, logger: logging.Logger) -> None:
    """Computes the table and prints it."""
    from pipeline.bound.bounding import bound

    bound(options, logger)


if __name__ == "__main__":
    main()
