"""Command line of `ris-mvdr locate`."""

import logging

from pipeline.common.main import command
from pipeline.locate.options import LocateOptions


@command("locate", LocateOptions, lambda options: options.log_dir)
def main(options: LocateOptions, logger: logging.Logger) -> None:
    """Starts a server, sends it scenes, and shows the answers."""
    from pipeline.locate.fresh_scenes import locate

    locate(options, logger)


if __name__ == "__main__":
    main()
