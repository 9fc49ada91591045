"""Where MLflow keeps things: a SQLite file with its artifacts beside it, or a server."""

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
    "MLFLOW_CONFIGURE_LOGGING": "false",  # what it says goes to the stage's log
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}  # its own seven take minutes to say that there is no server


def load() -> None:
    """Imports MLflow, told to call nobody but the store it is given.

    Raises:
      ValueError: it is not installed.
    """
    os.environ.update(_SETTINGS)
    for name, value in _RETRIES.items():
        os.environ.setdefault(name, value)
    require("mlflow", "mlflow", "mlflow")


def _make(file: Path) -> None:
    """Makes MLflow's SQLite file, whole or not at all: one whose making was killed could not be opened again.

    Others wait; what killed ones left goes first.
    """
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
    """A client of a store and the number of an experiment in it, made where there is none; `load` comes before.

    Raises:
      ValueError: there is no such store, or it refuses something; one line.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    artifacts = None
    if uri.startswith(SQLITE):
        file = Path(uri.removeprefix(SQLITE)).absolute()
        _make(file)
        artifacts = (file.parent / ARTIFACTS).as_uri()
    try:
        client = MlflowClient(uri)
        known = client.get_experiment_by_name(experiment)
        if known is not None and known.lifecycle_stage != "active":
            raise ValueError(f"--experiment: expected one that is not deleted in {uri}, got {experiment}")
        number = client.create_experiment(experiment, artifacts) if known is None else known.experiment_id
        yield client, number
    except MlflowException as error:
        said = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"--tracking-uri: expected a store of MLflow that takes all this, got {uri}: {said}"
        ) from error
