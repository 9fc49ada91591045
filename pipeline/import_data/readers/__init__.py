"""A module a format, each with `read_arrays(path, names) -> {name: array}`."""

import importlib
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from pipeline.import_data.config import Format, format_of


def read_arrays(path: Path, names: Sequence[str], told: Format | None = None) -> dict[str, np.ndarray]:
    """Arrays of a file by name.

    Args:
      path: the file.
      names: of datasets; slashes lead into groups and structs.
      told: the format; left out, by the file's name.

    Raises:
      ValueError: no such file, one of another format, cut short, or without one of the names; one line.
    """
    which = format_of(path, told)
    if not path.exists():
        raise ValueError(f"{path}: expected a file, found none")
    found: dict[str, np.ndarray] = importlib.import_module(f"{__name__}.{which}").read_arrays(path, names)
    return found


def expect_names(path: Path, names: Sequence[str], there: Collection[str]) -> None:
    """Raises ValueError where one of the names is not there; it says which are."""
    for name in names:
        if name not in there:
            raise ValueError(
                f"{path}: {name}: expected an array of that name, got {', '.join(sorted(there)) or 'none'}"
            )


def unreadable(path: Path, what: str, error: Exception) -> ValueError:
    """The error of a file that is not what it should be."""
    return ValueError(f"{path}: expected {what}, got: {str(error).strip().partition(chr(10))[0]}")
