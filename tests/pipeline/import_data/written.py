"""A small measurement, files of it in the formats of other programs, and the stage run on a map."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.import_data.__main__ import main
from pipeline.import_data.options import ImportDataOptions
from serving.client.measurement import Measurement, read_measurement

B, L, M, N, BITS = 3, 4, 2, 6, 3


def original() -> dict[str, np.ndarray]:
    """Arrays of the measurement file, and `index`, the phase indices of the codes, [B, L, N]."""
    rng = np.random.default_rng(7)

    def drawn(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)

    index = rng.integers(2**BITS, size=(B, L, N))
    return {
        "snapshots": drawn(B, L, M),
        "ris_codes": np.exp(2j * np.pi * index / 2**BITS).astype(np.complex64),
        "channel": drawn(B, M, N),
        "snr_db": np.array([-3.0, 4.5, 20.0], np.float32),
        "index": index,
    }


ORIGINAL = original()
PLAIN: dict[str, dict[str, Any]] = {
    "snapshots": {"name": "y"},
    "ris_codes": {"name": "codes"},
    "channel": {"name": "H"},
    "snr": {"name": "snr", "unit": "db"},
}
ARRAYS = {"y": "snapshots", "codes": "ris_codes", "H": "channel", "snr": "snr_db"}


def toml(tables: Mapping[str, Any]) -> str:
    """The text of a map: top-level keys first, then its tables."""
    lines = [f"{key} = {_value(value)}" for key, value in tables.items() if not isinstance(value, dict)]
    for name, table in tables.items():
        if isinstance(table, dict):
            inner = {key: value for key, value in table.items() if not isinstance(value, dict)}
            lines += [f"[{name}]", *(f"{key} = {_value(value)}" for key, value in inner.items())]
            lines += [
                line
                for key, value in table.items()
                if isinstance(value, dict)
                for line in toml({f"{name}.{key}": value}).splitlines()
            ]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value) if isinstance(value, int | float) else f'"{value}"'


def write_map(folder: Path, tables: Mapping[str, Any]) -> Path:
    """Writes map.toml to a folder."""
    path = folder / "map.toml"
    path.write_text(toml(tables))
    return path


def imported(folder: Path, tables: Mapping[str, Any], installation: Path | None = None) -> Measurement:
    """Runs the stage with a map in a folder, and reads the output as the client does."""
    output = folder / "out" / "measurement.npz"
    options = ImportDataOptions(write_map(folder, tables), output, installation=installation)
    main.work(options, logging.getLogger(__name__))
    return read_measurement(options.output)


def assert_original(found: Measurement, scenes: slice = slice(None), **instead: np.ndarray) -> None:
    """Asserts equality with the original to float32 accuracy."""
    for name in ("snapshots", "ris_codes", "channel", "snr_db"):
        expected = instead.get(name, ORIGINAL[name][scenes])
        np.testing.assert_allclose(getattr(found, name), expected, rtol=2e-6, atol=2e-6, err_msg=name)


def named() -> dict[str, np.ndarray]:
    """The original, with the array names of `PLAIN`."""
    return {name: ORIGINAL[key] for name, key in ARRAYS.items()}


def write_matlab_73(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes like MATLAB's -v7.3: 512 bytes of text, reversed axes, complex numbers as a compound of real and imag."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            turned = np.atleast_2d(values).T
            if np.iscomplexobj(turned):
                compound = np.empty(turned.shape, [("real", "<f4"), ("imag", "<f4")])
                compound["real"], compound["imag"] = turned.real, turned.imag
                turned = compound
            file[name] = turned
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
