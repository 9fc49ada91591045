"""Reads HDF5 files with h5py."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from pipeline.import_data.readers import expect_names, unreadable

_COMPOUND = ({"real", "imag"}, {"re", "im"}, {"r", "i"})


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads datasets by their path within the file. A compound of real and imaginary parts becomes complex."""
    try:
        with h5py.File(path, "r") as file:
            there: list[str] = []
            file.visititems(lambda name, item: there.append(name) if isinstance(item, h5py.Dataset) else None)
            named = {name: name.strip("/") for name in names}
            expect_names(path, list(named.values()), there)
            return {name: _complex(file[inner][()]) for name, inner in named.items()}
    except OSError as error:
        raise unreadable(path, "an HDF5 file", error) from None


def _complex(values: np.ndarray) -> np.ndarray:
    fields = values.dtype.names or ()
    if set(fields) not in _COMPOUND:
        return np.asarray(values)
    real, imag = sorted(fields, reverse=True)  # the name of the real part sorts last in all of them
    return np.asarray(values[real] + 1j * values[imag])
