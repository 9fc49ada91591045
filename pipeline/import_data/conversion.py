"""Converts the arrays of one file to those of a measurement: complex parts, order of axes, units."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.import_data.config import ArrayMap, LevelMap, format_of
from pipeline.import_data.readers import read_arrays
from tfds_shards.codebook import code_phasors

AXES: dict[str, tuple[str, ...]] = {
    "snapshots": ("scene", "snapshot", "antenna"),
    "ris_codes": ("scene", "snapshot", "element"),
    "channel": ("scene", "antenna", "element"),
    "snr": ("scene",),
    "noise_power": ("scene",),
}
"""Axes of the arrays in the measurement file. "row" and "column" together replace "element", row by row."""


def read_field(field: str, spec: ArrayMap | LevelMap, path: Path, lattice: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a field of the measurement, a key of `AXES`, from one file; `spec` says where it is.

    With a lattice, that of the installation, the axes "row" and "column" must have its sizes. Returns an array along
    `AXES[field]`, without "scene" if the file has no such axis; complex128, or real for SNR and noise power.
    """
    names = {"name": str(spec.name)} if isinstance(spec, LevelMap) else spec.names
    try:
        is_matlab = format_of(path, spec.format) == "mat"
        arrays = read_arrays(path, list(names.values()), spec.format)
        parts = {key: _numbers(path, name, arrays[name], spec.shape, is_matlab) for key, name in names.items()}
        axes = _axes(field, spec, parts, is_matlab)
        parts = {key: _along(path, names[key], part, axes, is_matlab) for key, part in parts.items()}
        values = parts["name"] if isinstance(spec, LevelMap) else _combined(path, spec, parts, axes)
        axes = [axis for axis in axes if axis != "part"]
        if lattice is not None and "row" in axes:
            _check_lattice(dict(zip(axes, values.shape, strict=True)), lattice)
        return _ordered(values, axes, AXES[field])
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


def _numbers(path: Path, name: str, values: np.ndarray, shape: tuple[int, ...] | None, is_matlab: bool) -> np.ndarray:
    """Checks that an array holds numbers, and reshapes it as the map says."""
    if values.dtype.kind not in "biufc":
        raise ValueError(f"{path}: {name}: expected numbers, got dtype {values.dtype}")
    if values.size == 0:
        raise ValueError(f"{path}: {name}: expected numbers, got shape {list(values.shape)}")
    try:
        return values if shape is None else values.reshape(shape, order="F" if is_matlab else "C")
    except ValueError:
        assert shape is not None
        raise ValueError(
            f"{path}: {name}: expected numbers that fill shape {list(shape)}, got shape {list(values.shape)}"
        ) from None


def _along(path: Path, name: str, values: np.ndarray, axes: Sequence[str], is_matlab: bool) -> np.ndarray:
    if is_matlab:
        values = _with_axes_of_matlab(values, len(axes))
    if values.ndim != len(axes):
        wanted = f"axes {', '.join(axes)}" if axes else "a single number"
        raise ValueError(f"{path}: {name}: expected {wanted}, got shape {list(values.shape)}")
    return values


def _with_axes_of_matlab(values: np.ndarray, count: int) -> np.ndarray:
    """Restores the number of axes: MATLAB stores vectors with two axes and drops trailing axes of size 1."""
    if count == 0 and values.size == 1:
        return values.reshape(())
    if count == 1 and values.size == max(values.shape, default=1):
        return values.ravel()
    return values.reshape(values.shape + (1,) * (count - values.ndim))


def _axes(field: str, spec: ArrayMap | LevelMap, parts: Mapping[str, np.ndarray], is_matlab: bool) -> Sequence[str]:
    """Checks the axes of the map. Without any, returns those of the measurement, with "scene" if the array has it."""
    expected = AXES[field]
    trailing = ("part",) if isinstance(spec, ArrayMap) and spec.parts != "complex" else ()
    if spec.axes is None:
        least = min(part.ndim for part in parts.values()) - len(trailing)
        if is_matlab and expected == ("scene",):
            return expected if max(part.size for part in parts.values()) > 1 else ()
        return (*(expected if least >= len(expected) else expected[1:]), *trailing)
    inner = ["element" if axis == "column" else axis for axis in spec.axes if axis not in ("row", "part", "scene")]
    if ("row" in spec.axes) != ("column" in spec.axes) or sorted(inner) != sorted(expected[1:]):
        shown = ", ".join(expected[1:])
        raise ValueError(f"axes: expected {shown or 'none'} and, if there is one, scene, got {list(spec.axes)}")
    return spec.axes


def _check_lattice(sizes: Mapping[str, int], lattice: tuple[int, int]) -> None:
    """Checks the sizes of the axes "row" and "column"; the message says so if the two look swapped."""
    got = (sizes["row"], sizes["column"])
    if got != lattice:
        hint = "; the axes row and column look swapped" if got == lattice[::-1] else ""
        raise ValueError(
            f"axes: expected {lattice[0]} rows and {lattice[1]} columns as the installation, "
            f"got {got[0]} rows and {got[1]} columns{hint}"
        )


def _combined(path: Path, spec: ArrayMap, parts: Mapping[str, np.ndarray], axes: Sequence[str]) -> np.ndarray:
    """Combines the parts to complex numbers; removes the axis "part"."""
    for key, part in parts.items():
        if np.iscomplexobj(part) and (key != "name" or spec.parts != "complex"):
            raise ValueError(f"{path}: {spec.names[key]}: expected real numbers, got dtype {part.dtype}")
    if spec.parts != "complex":
        held = np.moveaxis(parts["name"], axes.index("part"), 0)
        if len(held) != 2:
            raise ValueError(f"{path}: {spec.name}: expected an axis part of size 2, got {len(held)}")
        keys = ("real", "imag") if spec.parts == "real_imag" else ("amplitude", "phase")
        parts = dict(zip(keys, held, strict=True))
    shapes = {part.shape for part in parts.values()}
    if len(shapes) > 1:
        got = ", ".join(f"{key} {list(part.shape)}" for key, part in parts.items())
        raise ValueError(f"{path}: expected parts of one shape, got {got}")
    values = spec.scale * _complex(path, spec, parts)
    return np.conj(values) if spec.conj else values


def _complex(path: Path, spec: ArrayMap, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    if "name" in parts:
        return parts["name"].astype(np.complex128)
    if "real" in parts:
        return parts["real"] + 1j * parts["imag"]
    if spec.bits is not None:
        index, levels = parts["index"], 2**spec.bits
        if not np.isin(index, np.arange(levels)).all():
            raise ValueError(
                f"{path}: {spec.index}: expected indices 0 to {levels - 1}, got {index.min():g} to {index.max():g}"
            )
        return code_phasors(index.astype(np.intp), spec.bits)
    phase = parts["phase"].astype(np.float64)
    phasors = np.exp(1j * (np.deg2rad(phase) if spec.phase_unit == "deg" else phase))
    if "amplitude" not in parts:
        return phasors
    amplitude = parts["amplitude"].astype(np.float64)
    return phasors * (10.0 ** (amplitude / 20.0) if spec.amplitude_unit == "db" else amplitude)


def _ordered(values: np.ndarray, axes: Sequence[str], expected: Sequence[str]) -> np.ndarray:
    """Transposes the axes to the expected order and joins rows and columns."""
    wanted = [axis for axis in expected if axis in axes or axis == "element"]
    if "row" in axes:
        position = wanted.index("element")
        wanted[position : position + 1] = ["row", "column"]
    values = np.transpose(values, [axes.index(axis) for axis in wanted])
    return values.reshape(*values.shape[:-2], -1) if "row" in axes else values


def level_values(field: str, spec: LevelMap, values: np.ndarray) -> np.ndarray:
    """Converts an SNR to dB, or a noise power to the unit of |snapshots|^2; ValueError if the values cannot be
    levels."""
    if np.iscomplexobj(values):
        raise ValueError(f"{field}: expected real numbers, got dtype {values.dtype}")
    values = values.astype(np.float64)
    if field == "snr":
        if spec.unit == "db":
            return values
        if not (values > 0).all():
            raise ValueError(f"snr: expected positive ratios, got {values.min():g}")
        return 10.0 * np.log10(values)
    if spec.unit in ("dbw", "dbm"):
        return 10.0 ** ((values - (30.0 if spec.unit == "dbm" else 0.0)) / 10.0)
    return values
