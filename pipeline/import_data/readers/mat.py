"""Reads MATLAB files: v5 to v7 with SciPy, v7.3 with h5py. Axes are in MATLAB's order; v7.3 stores them reversed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from scipy.io.matlab import mat_struct

from pipeline.import_data.readers import expect_names, hdf5, unreadable

_HDF5_SIGNATURE, _USER_BLOCK = b"\x89HDF\r\n\x1a\n", 512


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads variables by name; a slash leads to a field of a scalar struct."""
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
    """Whether the HDF5 signature is at the start of the file, or after MATLAB's text header."""
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
