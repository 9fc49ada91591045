"""Command line of `ris-mvdr data`."""

import logging

from pipeline.common.main import run_stage
from pipeline.data.options import DataOptions


def work(options: DataOptions, logger: logging.Logger) -> None:
    """Builds the set unless it is there."""
    from pipeline.data.building import build_scenes

    build_scenes(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("data", DataOptions, work, lambda options: options.data_dir / "logs")


if __name__ == "__main__":
    main()
