"""Command line of `ris-mvdr confidence`."""

import logging

from pipeline.common.main import run_stage
from pipeline.confidence.options import ConfidenceOptions


def work(options: ConfidenceOptions, logger: logging.Logger) -> None:
    """Fits the correction and saves the weights."""
    from pipeline.confidence.training import fit_confidence

    fit_confidence(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("confidence", ConfidenceOptions, work, lambda options: options.run_dir / "logs")


if __name__ == "__main__":
    main()
