"""The tracking state in a run's folder: the ID of the run, and what each store has already received."""

import uuid
from pathlib import Path
from typing import Any

from pipeline.common.digests import json_digest
from pipeline.common.records import write_json
from pipeline.common.run_folders import read_record
from pipeline.mlflow.options import MlflowOptions
from pipeline.mlflow.records import Found, find_records
from pipeline.release.versions import served_version

STATE_FILE = "tracking.json"
SQLITE = "sqlite:///"


def run_name(root: Path) -> str:
    """The ID by which a store recognises a run, also after its folder has moved; created on the first call."""
    state = _read(root)
    if "run" not in state:
        state["run"] = uuid.uuid4().hex
        write_json(root / STATE_FILE, state)
    return str(state["run"])


def set_tracked(options: MlflowOptions, found: Found) -> None:
    """Records that a store has received everything found."""
    state = _read(options.run_dir)
    state["tracked"] = {**state.get("tracked", {}), _store(options): _digest(options, found)}
    write_json(options.run_dir / STATE_FILE, state)


def is_tracked(options: MlflowOptions) -> bool:
    """Whether a store has received the current contents of the run. False if its SQLite file no longer exists."""
    uri = options.tracking_uri
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        return False
    known = _read(options.run_dir).get("tracked", {}).get(_store(options))
    return known is not None and known == _digest(options, find_records(options.run_dir, options.model_base_path))


def _store(options: MlflowOptions) -> str:
    return f"{options.tracking_uri} {options.experiment}"


def _digest(options: MlflowOptions, found: Found) -> str:
    served = served_version(found.serving) if found.serving is not None else None
    number = served.number if served is not None else None
    return json_digest([[record.key for record in found.records], number, options.registered_model])


def _read(root: Path) -> dict[str, Any]:
    """Reads the state; empty if there is none."""
    path = root / STATE_FILE
    return read_record(path) if path.exists() else {}
