"""Command line of `ris-mvdr mlflow`."""

import logging
from pathlib import Path

from pipeline.common.main import command
from pipeline.mlflow.options import MlflowOptions


def log_directory(options: MlflowOptions) -> Path:
    """Folder of the log. Nothing is written to a folder that is not a run."""
    from pipeline.common.run_folders import find_run

    find_run(options.run_dir)
    return options.run_dir / "logs"


@command("mlflow", MlflowOptions, log_directory)
def main(options: MlflowOptions, logger: logging.Logger) -> None:
    """Writes the run to MLflow."""
    from pipeline.mlflow.store import load

    load()
    from pipeline.mlflow.tracking import track

    track(options, logger)


if __name__ == "__main__":
    main()
