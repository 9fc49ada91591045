"""MATLAB: v5 to v7 by SciPy, v7.3, which is HDF5 with the axes reversed, by h5py; axes as MATLAB's `size` has them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from scipy.io.matlab import mat_struct

from pipeline.import_data.readers import expect_names, hdf5, unreadable

_HDF5_SIGNATURE, _USER_BLOCK = b"\x89HDF\r\n\x1a\n", 512


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Variables by name, fields of scalar structs after a slash."""
    if _is_hdf5(path):
        return {name: values.T for name, values in hdf5.read_arrays(path, names).items()}
    try:
        variables = scipy.io.loadmat(path, struct_as_record=False)
    except (OSError, ValueError, TypeError, NotImplementedError) as error:
        raise unreadable(path, "a MATLAB file", error) from None
    there = _flat({name: value for name, value in variables.items() if not name.startswith("__")})
    expect_names(path, names, there)
    return {name: there[name] for name in names}


def _is_hdf5(path: Path) -> bool:
    """Whether HDF5 begins at the file's start, or behind the text that MATLAB puts before it."""
    with path.open("rb") as file:
        start = file.read(_USER_BLOCK + len(_HDF5_SIGNATURE))
    return _HDF5_SIGNATURE in (start[: len(_HDF5_SIGNATURE)], start[_USER_BLOCK:])


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, value in values.items():
        inner = value.flat[0] if value.dtype == object and value.size == 1 else None
        if isinstance(inner, mat_struct):
            found |= _flat({field: getattr(inner, field) for field in inner._fieldnames}, f"{prefix}{name}/")
        else:
            found[prefix + name] = value
    return found
