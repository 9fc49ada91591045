"""Command line of `ris-mvdr infra_validate`."""

import logging

from pipeline.common.main import FAIL, run_stage
from pipeline.infra_validate.options import VALID, InfraValidateOptions


def work(options: InfraValidateOptions, logger: logging.Logger) -> int | None:
    """Writes infra_validation.json."""
    from pipeline.infra_validate.infra_validation import judge

    return None if judge(options, logger)["verdict"] == VALID else FAIL


def main() -> None:
    """Command line entry point; exit status 1 where the verdict is INVALID."""
    run_stage("infra_validate", InfraValidateOptions, work, lambda options: options.run_dir / "logs")


if __name__ == "__main__":
    main()
