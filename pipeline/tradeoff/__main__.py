"""Command line of `ris-mvdr tradeoff`."""

import logging

from pipeline.common.main import command
from pipeline.tradeoff.options import TradeoffOptions


@command("tradeoff", TradeoffOptions, lambda options: options.output_dir / "logs")
def main(options: TradeoffOptions, logger: logging.Logger) -> None:
    """Runs the measurement."""
    from pipeline.tradeoff.time_accuracy import tradeoff

    tradeoff(options, logger)


if __name__ == "__main__":
    main()
