"""Names of the tables; light, so that options can be read without TensorFlow."""

from pathlib import Path

from models.shipped import shipped_path

FOLDER = shipped_path("docs/tables")


def names(folder: Path = FOLDER) -> list[str]:
    """The tables there are, a TOML file each."""
    return sorted(path.stem for path in folder.glob("*.toml"))
