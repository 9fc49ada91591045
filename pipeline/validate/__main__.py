"""Command line of `ris-mvdr validate`."""

import logging

from pipeline.common.main import FAIL, run_stage
from pipeline.validate.options import VALID, ValidateOptions


def work(options: ValidateOptions, logger: logging.Logger) -> int | None:
    """Writes validation.json."""
    from pipeline.validate.validating import validate

    return None if validate(options, logger)["verdict"] == VALID else FAIL


def main() -> None:
    """Command line entry point; exit status 1 where the verdict is INVALID."""
    run_stage("validate", ValidateOptions, work, lambda options: options.run_dir / "logs")


if __name__ == "__main__":
    main()
