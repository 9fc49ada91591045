"""What a run's folder says of where it is tracked: a name of its own, and how far each store has been told."""

import uuid
from pathlib import Path
from typing import Any

from models.checked import read_json
from pipeline.common.digests import json_digest
from pipeline.common.records import write_json
from pipeline.mlflow.options import MlflowOptions
from pipeline.mlflow.records import Found, find_records
from pipeline.release.versions import served_version

STATE_FILE = "tracking.json"
SQLITE = "sqlite:///"


def run_name(root: Path) -> str:
    """By what a store knows a run again, wherever its folder is moved; made up where there is none yet."""
    state = _read(root)
    if "run" not in state:
        state["run"] = uuid.uuid4().hex
        write_json(root / STATE_FILE, state)
    return str(state["run"])


def set_tracked(options: MlflowOptions, found: Found) -> None:
    """Leaves word that a store has been told all of this."""
    state = _read(options.run_dir)
    state["tracked"] = {**state.get("tracked", {}), _store(options): _digest(options, found)}
    write_json(options.run_dir / STATE_FILE, state)


def is_tracked(options: MlflowOptions) -> bool:
    """Whether a store was told all that is there now; a SQLite file that was removed since was not.

    Raises:
      ValueError: the folder is no run's.
    """
    uri = options.tracking_uri
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        return False
    known = _read(options.run_dir).get("tracked", {}).get(_store(options))
    return known is not None and known == _digest(options, find_records(options.run_dir, options.model_base_path))


def _store(options: MlflowOptions) -> str:
    return f"{options.tracking_uri} {options.experiment}"


def _digest(options: MlflowOptions, found: Found) -> str:
    served = served_version(found.serving) if found.serving is not None else None
    keys = [record.key for record in found.records]
    return json_digest([keys, None if served is None else served.number, options.registered_model])


def _read(root: Path) -> dict[str, Any]:
    """The state, empty where there is none.

    Raises:
      ValueError: the file is none of these.
    """
    path = root / STATE_FILE
    found: dict[str, Any] = read_json(path, dict[str, Any]) if path.exists() else {}
    return found
