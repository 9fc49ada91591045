"""Command line of `ris-mvdr infra_validate`."""

import logging

from pipeline.common.main import FAIL, command
from pipeline.infra_validate.options import VALID, InfraValidateOptions


@command("infra_validate", InfraValidateOptions, lambda options: options.run_dir / "logs")
def main(options: InfraValidateOptions, logger: logging.Logger) -> int | None:
    """Writes infra_validation.json; the exit status is 1 if the model is invalid."""
    from pipeline.infra_validate.infra_validation import judge

    return None if judge(options, logger)["verdict"] == VALID else FAIL


if __name__ == "__main__":
    main()
