"""Reads all files of a map and joins them to one measurement."""

import dataclasses

import numpy as np

from pipeline.import_data.config import ArrayMap, ImportMap, LevelMap
from pipeline.import_data.conversion import AXES, level_values, read_field
from serving.client.measurement import Measurement, check_measurement

Lattice = tuple[int, int] | None
"""Rows and columns of a surface; None if it is not a lattice, or unknown."""


def import_measurement(import_map: ImportMap, where: str, lattice: Lattice = None) -> Measurement:
    """Reads the arrays that a map names and joins its files along the scenes. `where` starts the error messages.
    With a lattice, that of the installation, the axes "row" and "column" must have its sizes."""
    try:
        found = _by_file("snapshots", import_map.snapshots, import_map, lattice)
        snapshots = [values if values.ndim == len(AXES["snapshots"]) else values[None] for values in found]
        sizes = [len(values) for values in snapshots]
        arrays = {
            "snapshots": _joined("snapshots", snapshots),
            "ris_codes": _field("ris_codes", import_map.ris_codes, import_map, sizes, lattice),
            "channel": _field("channel", import_map.channel, import_map, sizes, lattice),
        }
        if import_map.snr is not None:
            arrays["snr_db"] = _level("snr", import_map.snr, import_map, sizes)
        if import_map.noise_power is not None:
            arrays["noise_power"] = _level("noise_power", import_map.noise_power, import_map, sizes)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return check_measurement(arrays, where)


def _by_file(field: str, spec: ArrayMap | LevelMap, import_map: ImportMap, lattice: Lattice = None) -> list[np.ndarray]:
    files = spec.files or import_map.files
    if not files:
        raise ValueError(f"{field}: expected files, of the map or of [{field}], got none")
    if not spec.format and not spec.files:
        spec = dataclasses.replace(spec, format=import_map.format)
    return [read_field(field, spec, path, lattice) for path in files]


def _field(
    field: str, spec: ArrayMap | LevelMap, import_map: ImportMap, sizes: list[int], lattice: Lattice = None
) -> np.ndarray:
    """Reads a field for all scenes. A single file without an axis "scene" gives one array for all scenes."""
    found = _by_file(field, spec, import_map, lattice)
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


def _level(field: str, spec: LevelMap, import_map: ImportMap, sizes: list[int]) -> np.ndarray:
    values = np.array(spec.value) if spec.value is not None else _field(field, spec, import_map, sizes)
    return level_values(field, spec, values)


def _joined(field: str, found: list[np.ndarray]) -> np.ndarray:
    shapes = sorted({values.shape[1:] for values in found})
    if len(shapes) > 1:
        letters = ", ".join(AXES[field][1:])
        raise ValueError(f"{field}: expected files of one size ({letters}), got {[list(shape) for shape in shapes]}")
    return found[0] if len(found) == 1 else np.concatenate(found)
