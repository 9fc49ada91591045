"""Command line of `ris-mvdr doctor`."""

import logging

from pipeline.common.main import FAIL, run_stage
from pipeline.doctor.options import DoctorOptions


def work(options: DoctorOptions, logger: logging.Logger) -> int | None:
    """Says a line a check."""
    from pipeline.doctor.checks import checks

    found = list(checks(options))
    for check in found:
        logger.info(f"{'ok  ' if check.holds else 'FAIL'}  {check.name}: {check.said}")
    failed = sum(not check.holds for check in found)
    logger.info(f"{len(found) - failed} of {len(found)} checks hold")
    return FAIL if failed else None


def main() -> None:
    """Command line entry point."""
    run_stage("doctor", DoctorOptions, work, lambda options: options.runs / "logs")


if __name__ == "__main__":
    main()
