"""Readers: one module per file format, each with `read_arrays(path, names) -> {name: array}`."""

import importlib
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from pipeline.import_data.config import Format, format_of


def read_arrays(path: Path, names: Sequence[str], file_format: Format | None = None) -> dict[str, np.ndarray]:
    """Reads arrays of a file by name; slashes lead into groups and structs. Without a format, the file's name gives
    it. ValueError, one line, for a file that does not exist, cannot be read or lacks an array."""
    which = format_of(path, file_format)
    if not path.exists():
        raise ValueError(f"{path}: expected a file, found none")
    found: dict[str, np.ndarray] = importlib.import_module(f"{__name__}.{which}").read_arrays(path, names)
    return found


def expect_names(path: Path, names: Sequence[str], there: Collection[str]) -> None:
    """Checks that a file has arrays of all names; the message lists those it has."""
    for name in names:
        if name not in there:
            raise ValueError(
                f"{path}: {name}: expected an array of that name, got {', '.join(sorted(there)) or 'none'}"
            )


def unreadable(path: Path, what: str, error: Exception) -> ValueError:
    """The error for a file that cannot be read as `what`."""
    return ValueError(f"{path}: expected {what}, got: {str(error).strip().partition(chr(10))[0]}")
