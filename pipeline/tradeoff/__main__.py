"""Command line of `ris-mvdr tradeoff`."""

import logging

from pipeline.common.main import run_stage
from pipeline.tradeoff.options import TradeoffOptions


def work(options: TradeoffOptions, logger: logging.Logger) -> None:
    """Runs the measurement."""
    from pipeline.tradeoff.time_accuracy import tradeoff

    tradeoff(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("tradeoff", TradeoffOptions, work, lambda options: options.output_dir / "logs")


if __name__ == "__main__":
    main()
