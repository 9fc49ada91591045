"""`python -m pipeline.tune`: searches training options on a fast surrogate, then ranks the best at MVDR-final.

Killed at any point, the same command goes on. docs/tuning.md has the whole of it, several machines included.
"""

import logging

from pipeline.common.main import run_stage
from pipeline.tuning.options import TuneOptions


def work(options: TuneOptions, logger: logging.Logger) -> None:
    """Runs the study, or goes on with it."""
    from pipeline.tuning.running import tune

    tune(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("tune", TuneOptions, work, lambda options: options.run_dir / "logs")


if __name__ == "__main__":
    main()
