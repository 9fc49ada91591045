"""Command line of `ris-mvdr confidence`."""

import logging

from pipeline.common.main import command
from pipeline.confidence.options import ConfidenceOptions


@command("confidence", ConfidenceOptions, lambda options: options.run_dir / "logs")
def main(options: ConfidenceOptions, logger: logging.Logger) -> None:
    """Fits the correction and saves the weights."""
    from pipeline.confidence.training import fit_confidence

    fit_confidence(options, logger)


if __name__ == "__main__":
    main()
