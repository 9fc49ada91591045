"""Names of the tables. The options import them without importing TensorFlow."""

from pathlib import Path

from pipeline.common.digests import ROOT

FOLDER = ROOT / "docs" / "tables"


def names(folder: Path = FOLDER) -> list[str]:
    """Names of all tables; each is a TOML file in the folder."""
    return sorted(path.stem for path in folder.glob("*.toml"))
