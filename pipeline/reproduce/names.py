"""Names of the tables; light, so that options can be read without TensorFlow."""

from pathlib import Path

from pipeline.common.digests import ROOT

FOLDER = ROOT / "docs" / "tables"


def names(folder: Path = FOLDER) -> list[str]:
    """The tables there are, a TOML file each."""
    return sorted(path.stem for path in folder.glob("*.toml"))
