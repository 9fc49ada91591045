"""Command line of `ris-mvdr confidence`."""

import logging

from pipeline.common.main import command
from pipeline.confidence.options import ConfidenceOptions


@command("confidence", ConfidenceOptions, lambda options: options.run_dir / "logs")
def main(options: ConfidenceOptions, logger: logging.Logger) -> None:
    """Collects, fits, validates, saves."""
    from pipeline.confidence.training import teach

    teach(options, logger)


if __name__ == "__main__":
    main()
