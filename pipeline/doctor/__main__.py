"""Command line of `ris-mvdr doctor`."""

import logging

from pipeline.common.main import FAIL, command
from pipeline.doctor.options import DoctorOptions


@command("doctor", DoctorOptions, lambda options: options.runs / "logs")
def main(options: DoctorOptions, logger: logging.Logger) -> int | None:
    """Logs one line per check; the exit status is 1 if a check fails."""
    from pipeline.doctor.checks import checks

    found = list(checks(options))
    for check in found:
        logger.info(f"{'ok  ' if check.holds else 'FAIL'}  {check.name}: {check.said}")
    failed = sum(not check.holds for check in found)
    logger.info(f"{len(found) - failed} of {len(found)} checks hold")
    return FAIL if failed else None


if __name__ == "__main__":
    main()
