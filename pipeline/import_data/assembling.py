"""A map and its files into one measurement."""

import dataclasses
from pathlib import Path

import numpy as np

from pipeline.import_data.config import ArrayMap, ImportMap, LevelMap
from pipeline.import_data.conversion import AXES, level_values, read_field
from serving.client.measurement import Measurement, check_measurement

Lattice = tuple[int, int] | None
"""Rows and columns of a surface; None where it is no lattice, or not known."""


def import_measurement(told: ImportMap, where: str, lattice: Lattice = None) -> Measurement:
    """Reads what a map says and joins its files along the scenes.

    Args:
      told: the map.
      where: named in errors.
      lattice: rows and columns of the installation, which axes "row" and "column" must have.

    Raises:
      ValueError: one line that names the field, what was expected and what came.
    """
    try:
        snapshots = [
            values if values.ndim == len(AXES["snapshots"]) else values[None]
            for values in _by_file("snapshots", told.snapshots, told, lattice)
        ]
        sizes = [len(values) for values in snapshots]
        arrays = {
            "snapshots": _joined("snapshots", snapshots),
            "ris_codes": _field("ris_codes", told.ris_codes, told, sizes, lattice),
            "channel": _field("channel", told.channel, told, sizes, lattice),
        }
        if told.snr is not None:
            arrays["snr_db"] = _level("snr", told.snr, told, sizes)
        if told.noise_power is not None:
            arrays["noise_power"] = _level("noise_power", told.noise_power, told, sizes)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return check_measurement(arrays, where)


def _by_file(field: str, one: ArrayMap | LevelMap, told: ImportMap, lattice: Lattice = None) -> list[np.ndarray]:
    files = one.files or told.files
    if not files:
        raise ValueError(f"{field}: expected files, of the map or of [{field}], got none")
    return [read_field(field, _with_format(one, told, path), path, lattice) for path in files]


def _with_format(one: ArrayMap | LevelMap, told: ImportMap, path: Path) -> ArrayMap | LevelMap:
    """An array of the map's own files has the map's format where its table says none."""
    return one if one.format or one.files else dataclasses.replace(one, format=told.format)


def _field(
    field: str, one: ArrayMap | LevelMap, told: ImportMap, sizes: list[int], lattice: Lattice = None
) -> np.ndarray:
    """All scenes, or one array for all of them where one file holds it without scenes."""
    found = _by_file(field, one, told, lattice)
    has_scenes = [values.ndim == len(AXES[field]) for values in found]
    if len(found) == 1 and not has_scenes[0]:
        return found[0]
    if not all(has_scenes):
        if len(found) != len(sizes):
            raise ValueError(
                f"{field}: expected one file, or one for each of the snapshots' {len(sizes)}, or an axis scene, "
                f"got {len(found)} files"
            )
        found = [
            values if of_scenes else np.broadcast_to(values, (size, *values.shape))
            for values, of_scenes, size in zip(found, has_scenes, sizes, strict=True)
        ]
    return _joined(field, found)


def _level(field: str, one: LevelMap, told: ImportMap, sizes: list[int]) -> np.ndarray:
    values = np.array(one.value) if one.value is not None else _field(field, one, told, sizes)
    return level_values(field, one, values)


def _joined(field: str, found: list[np.ndarray]) -> np.ndarray:
    shapes = sorted({values.shape[1:] for values in found})
    if len(shapes) > 1:
        letters = ", ".join(AXES[field][1:])
        raise ValueError(f"{field}: expected files of one size ({letters}), got {[list(shape) for shape in shapes]}")
    return found[0] if len(found) == 1 else np.concatenate(found)
