"""Command line of `ris-mvdr learnability`."""

import logging

from pipeline.common.main import FAIL, command
from pipeline.learnability.options import LearnabilityOptions


@command("learnability", LearnabilityOptions, lambda options: options.run_dir / "logs")
def main(options: LearnabilityOptions, logger: logging.Logger) -> int | None:
    """Judges the training and writes RUN_DIR/learnability.json."""
    from pipeline.learnability.check import check

    return FAIL if check(options, logger)["verdict"] == "FAIL" else None


if __name__ == "__main__":
    main()
