"""Options of `ris-mvdr mlflow`."""

from pathlib import Path

import tyro

from models.checked import stage_options


@stage_options(frozen=True)
class MlflowOptions:
    """Records a run folder in MLflow and keeps the aliases at the versions that are served.

    Run again, it adds only what is new. If interrupted, the same command resumes.
    """

    run_dir: tyro.conf.Positional[Path]
    """Run folder of `ris-mvdr run` or of a single stage."""
    tracking_uri: str = "sqlite:///runs/mlflow.db"
    """MLflow store: a SQLite file, with artifacts in mlartifacts/ next to it, or http://HOST:PORT of a server."""
    experiment: str = "ris-mvdr"
    """Name of the experiment."""
    model_base_path: Path | None = None
    """Folder of the pushed versions. Default: the one in serving/ of the run folder, if any."""
    registered_model: str | None = None
    """Name of the model in the registry. Default: the name of its export folder."""
