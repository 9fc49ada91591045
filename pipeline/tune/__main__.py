"""Command line of `ris-mvdr tune`."""

import logging

from pipeline.common.main import run_stage
from pipeline.tune.options import TuneOptions


def work(options: TuneOptions, logger: logging.Logger) -> None:
    """Runs, or resumes, the study."""
    from pipeline.tune.study import tune

    tune(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("tune", TuneOptions, work, lambda options: options.run_dir / "logs")


if __name__ == "__main__":
    main()
