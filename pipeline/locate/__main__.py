"""Command line of `ris-mvdr locate`."""

import logging

from pipeline.common.main import run_stage
from pipeline.locate.options import LocateOptions


def work(options: LocateOptions, logger: logging.Logger) -> None:
    """Starts a server, asks it, shows what it said."""
    from pipeline.locate.fresh_scenes import locate

    locate(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("locate", LocateOptions, work, lambda options: options.log_dir)


if __name__ == "__main__":
    main()
