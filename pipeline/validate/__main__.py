"""Command line of `ris-mvdr validate`."""

import logging

from pipeline.common.main import FAIL, command
from pipeline.validate.options import VALID, ValidateOptions


@command("validate", ValidateOptions, lambda options: options.run_dir / "logs")
def main(options: ValidateOptions, logger: logging.Logger) -> int | None:
    """Writes validation.json; the exit status is 1 if the scenes are invalid."""
    from pipeline.validate.validating import validate

    return None if validate(options, logger)["verdict"] == VALID else FAIL


if __name__ == "__main__":
    main()
