"""Reads NumPy .npz files."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.import_data.readers import expect_names, unreadable


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads arrays by name, without unpickling objects."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            there = list(file)
            found = {name: file[name] for name in names if name in there}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise unreadable(path, "a .npz file of numbers", error) from None
    expect_names(path, names, there)
    return found
