"""Opens an MLflow store: a SQLite file with its artifacts in the same folder, or a server."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.common.extras import require
from pipeline.mlflow.state import SQLITE

if TYPE_CHECKING:
    from mlflow import MlflowClient

ARTIFACTS = "mlartifacts"
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",  # its messages go to the log of the stage
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}  # with the default of seven, a missing server takes minutes


def load() -> None:
    """Imports MLflow without telemetry, so that it contacts only the given store; ValueError if it is not installed."""
    os.environ.update(_SETTINGS)
    for name, value in _RETRIES.items():
        os.environ.setdefault(name, value)
    require("mlflow", "mlflow", "mlflow")


def _create(file: Path) -> None:
    """Creates MLflow's SQLite file atomically, because MLflow cannot open a file whose creation was interrupted. A
    lock makes other processes wait. Files of an interrupted creation are deleted first."""
    from mlflow import MlflowClient

    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}-unfinished")
    with open(file.with_name(f".{file.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            MlflowClient(f"{SQLITE}{unfinished / file.name}")
            os.rename(unfinished / file.name, file)
            unfinished.rmdir()


@contextlib.contextmanager
def open_store(uri: str, experiment: str) -> Iterator[tuple["MlflowClient", str]]:
    """Opens a store; yields a client and the ID of an experiment, which is created if needed. Call `load` before.
    ValueError, one line, if the store does not exist or rejects a request."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    artifacts = None
    if uri.startswith(SQLITE):
        file = Path(uri.removeprefix(SQLITE)).absolute()
        _create(file)
        artifacts = (file.parent / ARTIFACTS).as_uri()
    try:
        client = MlflowClient(uri)
        known = client.get_experiment_by_name(experiment)
        if known is not None and known.lifecycle_stage != "active":
            raise ValueError(f"--experiment: expected one that is not deleted in {uri}, got {experiment}")
        number = client.create_experiment(experiment, artifacts) if known is None else known.experiment_id
        yield client, number
    except MlflowException as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"--tracking-uri: expected a store that accepts the run, got {uri}: {reason}") from error
