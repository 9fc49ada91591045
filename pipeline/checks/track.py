"""`python -m pipeline.checks.track`: a run's stages, scenes, figures and models into MLflow; docs/tracking.md."""

import dataclasses
import logging
from pathlib import Path

import tyro

from pipeline.common.main import run_stage


@dataclasses.dataclass(frozen=True)
class TrackOptions:
    """Writes what a run's folder holds to MLflow, and lets the aliases follow what is served.

    Called again, it adds what is new and nothing else; killed, the same command goes on.
    """

    run_dir: tyro.conf.Positional[Path]
    """Folder of `python -m pipeline.run`, or of a single stage."""
    tracking_uri: str = "sqlite:///runs/mlflow.db"
    """Where to: a SQLite file, artifacts in mlartifacts/ beside it, or a server's http://HOST:PORT."""
    experiment: str = "ris-mvdr"
    """MLflow's experiment."""
    model_base_path: Path | None = None
    """Folder of the pushed versions; left out, the one in the run's serving/, if any."""
    registered_model: str | None = None
    """The model's name in the registry; left out, that of the folder it is exported to."""


def log_directory(options: TrackOptions) -> Path:
    """Where the log goes; a folder that is no run is left as it is.

    Raises:
      ValueError: the folder is no run's.
    """
    from pipeline.reporting.folders import find_run

    find_run(options.run_dir)
    return options.run_dir / "logs"


def work(options: TrackOptions, logger: logging.Logger) -> None:
    """Tracks."""
    from pipeline.tracking.store import load

    load()
    from pipeline.tracking.tracking import track  # after `load`: it imports MLflow

    track(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("track", TrackOptions, work, log_directory)


if __name__ == "__main__":
    main()
