"""Names of the tables. Imports no TensorFlow, so that options are read quickly."""

from pathlib import Path

from models.shipped import shipped_path

FOLDER = shipped_path("docs/tables")


def names(folder: Path = FOLDER) -> list[str]:
    """Names of the tables: each has a TOML file."""
    return sorted(path.stem for path in folder.glob("*.toml"))
