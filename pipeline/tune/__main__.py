"""Command line of `ris-mvdr tune`."""

import logging

from pipeline.common.main import command
from pipeline.tune.options import TuneOptions


@command("tune", TuneOptions, lambda options: options.run_dir / "logs")
def main(options: TuneOptions, logger: logging.Logger) -> None:
    """Runs, or resumes, the study."""
    from pipeline.tune.study import tune

    tune(options, logger)


if __name__ == "__main__":
    main()
