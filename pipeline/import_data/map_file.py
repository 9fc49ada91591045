"""Reads a map: a TOML file that says where each array is."""

from pathlib import Path
from typing import Any

from models.checked import from_json, read_toml
from pipeline.import_data.adapter_config import DeepMIMOImport, SionnaImport
from pipeline.import_data.config import ImportMap


def read_map(path: Path) -> ImportMap | SionnaImport | DeepMIMOImport:
    """Reads a map. A table [sionna] or [deepmimo] selects that adapter."""
    tables: dict[str, Any] = read_toml(path, dict[str, Any])
    adapters = {"sionna": SionnaImport, "deepmimo": DeepMIMOImport}
    kind = next((adapter for table, adapter in adapters.items() if table in tables), ImportMap)
    found: ImportMap | SionnaImport | DeepMIMOImport = from_json(tables, kind, f"{path}: ", path.parent)
    return found
