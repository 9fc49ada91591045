"""Files of the repository that come with the package: docs/ and README.md.

Here they are links; in a wheel they are copies. So commands of the docs that name docs/installations/lab.toml also work
without a checkout.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent
_PACKAGES = Path(__file__).parents[2]
_INPUTS = (".toml", ".keras")


def shipped_path(name: str | Path) -> Path:
    """Path of a file or folder of the repository, given relative to its root, such as "docs/installations"."""
    here = _FOLDER / name
    return (here if here.exists() else _PACKAGES / name).resolve()


def or_shipped(path: Path) -> Path:
    """The path, or the file of the package with this name if the path does not exist.

    This applies only to configuration files and weights, which are always inputs.
    """
    if path.suffix not in _INPUTS or path.is_absolute() or ".." in path.parts or path.exists():
        return path
    shipped = shipped_path(path)
    return shipped if shipped.is_file() else path
