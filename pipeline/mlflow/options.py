"""Options of `ris-mvdr mlflow`."""

from pathlib import Path

import tyro

from models.checked import stage_options


@stage_options(frozen=True)
class MlflowOptions:
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
