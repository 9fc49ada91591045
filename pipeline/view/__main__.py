"""Command line of `ris-mvdr view`."""

import logging

from pipeline.common.main import run_stage
from pipeline.view.options import ViewOptions


def work(options: ViewOptions, logger: logging.Logger) -> None:
    """Serves the page until it is told to end."""
    from pipeline.view.running import view

    view(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("view", ViewOptions, work, lambda options: options.log_dir)


if __name__ == "__main__":
    main()
