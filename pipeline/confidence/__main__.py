"""Command line of `ris-mvdr confidence`."""

import logging

from pipeline.common.main import run_stage
from pipeline.confidence.options import ConfidenceOptions


def work(options: ConfidenceOptions, logger: logging.Logger) -> None:
    """Collects, fits, validates, saves."""
    from pipeline.confidence.training import teach

    teach(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("confidence", ConfidenceOptions, work, lambda options: options.run_dir / "logs")


if __name__ == "__main__":
    main()
