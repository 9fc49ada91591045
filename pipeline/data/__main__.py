"""Command line of `ris-mvdr data`."""

import logging

from pipeline.common.main import command
from pipeline.data.options import DataOptions


@command("data", DataOptions, lambda options: options.data_dir / "logs")
def main(options: DataOptions, logger: logging.Logger) -> None:
    """Builds the set unless it exists."""
    from pipeline.data.building import build_scenes

    build_scenes(options, logger)


if __name__ == "__main__":
    main()
