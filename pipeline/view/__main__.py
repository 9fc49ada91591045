"""Command line of `ris-mvdr view`."""

import logging

from pipeline.common.main import command
from pipeline.view.options import ViewOptions


@command("view", ViewOptions, lambda options: options.log_dir)
def main(options: ViewOptions, logger: logging.Logger) -> None:
    """Serves the page until it is told to end."""
    from pipeline.view.running import view

    view(options, logger)


if __name__ == "__main__":
    main()
