"""The map: a TOML file that says what is where."""

import tomllib
from pathlib import Path

from pipeline.import_data.adapter_config import DeepMIMOImport, SionnaImport
from pipeline.import_data.config import ImportMap
from pipeline.import_data.tables import from_table


def read_map(path: Path) -> ImportMap | SionnaImport | DeepMIMOImport:
    """Reads a map; a table [sionna] or [deepmimo] makes it one of that adapter.

    Raises:
      ValueError: no such file, no TOML, or what it says cannot be; one line.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"--map: expected a TOML file, {path}: {error}") from None
    try:
        if "sionna" in tables:
            return from_table(SionnaImport, tables, path.parent)
        if "deepmimo" in tables:
            return from_table(DeepMIMOImport, tables, path.parent)
        return from_table(ImportMap, tables, path.parent)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
