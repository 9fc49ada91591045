"""Names of the tables. The options import them without importing TensorFlow."""

from pathlib import Path

from models.shipped import shipped_path

FOLDER = shipped_path("docs/tables")


def names(folder: Path = FOLDER) -> list[str]:
    """Names of all tables; each is a TOML file in the folder."""
    return sorted(path.stem for path in folder.glob("*.toml"))
