"""Command line of `ris-mvdr learnability`."""

import logging

from pipeline.common.main import FAIL, run_stage
from pipeline.learnability.options import LearnabilityOptions


def work(options: LearnabilityOptions, logger: logging.Logger) -> int | None:
    """Judges the training and writes RUN_DIR/learnability.json."""
    from pipeline.learnability.check import check

    return FAIL if check(options, logger)["verdict"] == "FAIL" else None


def main() -> None:
    """Command line entry point."""
    run_stage("learnability", LearnabilityOptions, work, lambda options: options.run_dir / "logs")


if __name__ == "__main__":
    main()
