"""Command line of `ris-mvdr calibrate`."""

import logging
from pathlib import Path

from pipeline.calibrate.options import CalibrateOptions
from pipeline.common.main import command


def _log_dir(options: CalibrateOptions) -> Path:
    beside = options.output or options.check
    assert beside is not None
    return beside.parent / "logs"


@command("calibrate", CalibrateOptions, _log_dir)
def main(options: CalibrateOptions, logger: logging.Logger) -> int | None:
    """Calibrates, or checks a stored calibration."""
    from pipeline.calibrate.running import run_calibration, run_check

    if options.check is not None:
        return run_check(options, logger)
    run_calibration(options, logger)
    return None


if __name__ == "__main__":
    main()
