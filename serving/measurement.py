"""Measurement files: `.npz` with snapshots, ris_codes, channel and snr_db or noise_power (docs/conventions.md)."""

import dataclasses
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A batch of scenes, as the model's signature takes them.

    snapshots: [B, L, M] complex64. ris_codes: [B, L, N] complex64. channel: [B, M, N] complex64.
    snr_db: [B] float32, dB.
    """

    snapshots: np.ndarray
    ris_codes: np.ndarray
    channel: np.ndarray
    snr_db: np.ndarray

    def __len__(self) -> int:
        return len(self.snapshots)

    def inputs(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Scenes start..stop by input name."""
        return {field.name: getattr(self, field.name)[start:stop] for field in dataclasses.fields(self)}


def _numbers(where: str, arrays: dict[str, np.ndarray], name: str, dtype: type) -> np.ndarray:
    if name not in arrays:
        raise ValueError(f"{where}: {name}: expected an array of that name, got {sorted(arrays) or 'none'}")
    array = np.asarray(arrays[name])
    if array.dtype.kind not in ("iuf" if dtype is np.float32 else "iufc"):
        raise ValueError(f"{where}: {name}: expected {np.dtype(dtype)}, got dtype {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{where}: {name}: expected finite numbers, got NaN or infinity")
    return array


def _shaped(where: str, name: str, array: np.ndarray, shape: tuple[int, ...], letters: str) -> np.ndarray:
    """`array` with a batch axis and the shape expected, or an error that names both."""
    if array.ndim == len(shape) - 1:
        array = np.broadcast_to(array, (shape[0], *array.shape))
    if array.shape != shape:
        raise ValueError(f"{where}: {name}: expected shape {letters} = {list(shape)}, got {list(array.shape)}")
    return array.astype(np.complex64)


def check_measurement(arrays: dict[str, np.ndarray], where: str = "measurement") -> Measurement:
    """Checks arrays and brings them to the signature's form.

    Args:
      arrays: snapshots [B, L, M]; ris_codes [B, L, N] or [L, N]; channel [B, M, N] or [M, N]; and one of snr_db [B]
        (dB) and noise_power [B] (sigma^2, in the units of |snapshots|^2).
      where: named in errors.

    Raises:
      ValueError: one line that names the array, what was expected and what came.
    """
    snapshots = _numbers(where, arrays, "snapshots", np.complex64)
    if snapshots.ndim != 3:
        raise ValueError(f"{where}: snapshots: expected shape [B, L, M], got {list(snapshots.shape)}")
    batch, num_snapshots, num_antennas = snapshots.shape
    for letter, size, noun in (("B", batch, "scene"), ("L", num_snapshots, "snapshot"), ("M", num_antennas, "antenna")):
        if size == 0:
            raise ValueError(f"{where}: snapshots: expected at least one {noun}, got {letter} = 0")
    channel = _numbers(where, arrays, "channel", np.complex64)
    codes = _numbers(where, arrays, "ris_codes", np.complex64)
    if channel.ndim not in (2, 3):
        raise ValueError(f"{where}: channel: expected shape [B, M, N] or [M, N], got {list(channel.shape)}")
    elements = channel.shape[-1]
    channel = _shaped(where, "channel", channel, (batch, num_antennas, elements), "[B, M, N]")
    codes = _shaped(where, "ris_codes", codes, (batch, num_snapshots, elements), "[B, L, N]")
    given = [name for name in ("snr_db", "noise_power") if name in arrays]
    if len(given) != 1:
        raise ValueError(
            f"{where}: snr_db: expected either snr_db or noise_power, got {' and '.join(given) or 'neither'}"
        )
    level = _numbers(where, arrays, given[0], np.float32)
    if level.shape not in ((batch,), ()):
        raise ValueError(f"{where}: {given[0]}: expected shape [B] = [{batch}], got {list(level.shape)}")
    snr_db = np.broadcast_to(level, (batch,)).astype(np.float32)
    if given[0] == "noise_power":
        snr_db = _snr_db(where, snapshots, np.broadcast_to(level, (batch,)))
    return Measurement(snapshots.astype(np.complex64), codes, channel, snr_db)


def _snr_db(where: str, snapshots: np.ndarray, noise_power: np.ndarray) -> np.ndarray:
    """SNR = mean |y|^2 / sigma^2 - 1, dB."""
    if not (noise_power > 0).all():
        raise ValueError(f"{where}: noise_power: expected positive numbers, got {noise_power.min()}")
    received = np.mean(np.abs(snapshots.astype(np.complex128)) ** 2, axis=(1, 2))
    snr = received / noise_power - 1.0
    if not (snr > 0).all():
        scene = int(np.argmin(snr))
        raise ValueError(
            f"{where}: noise_power: expected less than the received power {received[scene]:.3g} of scene {scene}, "
            f"got {noise_power[scene]:.3g}"
        )
    return (10.0 * np.log10(snr)).astype(np.float32)


def read_measurement(path: Path) -> Measurement:
    """Reads and checks a measurement file.

    Raises:
      ValueError: the file is absent, no `.npz`, cut short, or its arrays are wrong.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError(f"{path}: expected a .npz file of named arrays, got a single array")
            arrays = dict(file)
    except FileNotFoundError:
        raise ValueError(f"{path}: expected a measurement file, found none") from None
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, AttributeError) as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: expected a whole .npz file of number arrays, got: {error}") from None
    return check_measurement(arrays, str(path))


def write_measurement(path: Path, measurement: Measurement) -> None:
    """Writes a measurement file beside its place, then renames it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".npz", dir=path.parent)
    os.close(handle)
    try:
        arrays: dict[str, Any] = measurement.inputs(0, len(measurement))
        np.savez(temporary, **arrays)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
