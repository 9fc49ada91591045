"""Measurements: snapshots, ris_codes, channel and snr_db or noise_power, checked (docs/conventions.md)."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from serving.client.files import replacing
from serving.client.npz import NpzReader

LEVELS = ("snr_db", "noise_power")


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

    @property
    def num_antennas(self) -> int:
        """M."""
        return self.channel.shape[1]

    @property
    def num_elements(self) -> int:
        """N."""
        return self.channel.shape[2]

    def inputs(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Scenes start..stop by input name."""
        return {field.name: getattr(self, field.name)[start:stop] for field in dataclasses.fields(self)}

    def batches(self, size: int) -> "Iterator[Measurement]":
        """All scenes in order, `size` at a time, the last time fewer."""
        for first in range(0, len(self), size):
            yield Measurement(**self.inputs(first, first + size))


class Described(Protocol):
    """An array, or what is known of one before it is read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def ndim(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class Layout:
    """Sizes of a measurement: scenes B, snapshots L, antennas M, elements N; and which of `LEVELS` it holds."""

    num_scenes: int
    num_snapshots: int
    num_antennas: int
    num_elements: int
    level: str


def _expect_numbers(where: str, arrays: Mapping[str, Described], name: str, kinds: str, dtype: type) -> Described:
    if name not in arrays:
        raise ValueError(f"{where}: {name}: expected an array of that name, got {sorted(arrays) or 'none'}")
    if arrays[name].dtype.kind not in kinds:
        raise ValueError(f"{where}: {name}: expected {np.dtype(dtype)}, got dtype {arrays[name].dtype}")
    return arrays[name]


def _expect_shape(where: str, name: str, array: Described, shape: tuple[int, ...], letters: str) -> None:
    """A batch axis may be left out."""
    got = (shape[0], *array.shape) if array.ndim == len(shape) - 1 else array.shape
    if got != shape:
        raise ValueError(f"{where}: {name}: expected shape {letters} = {list(shape)}, got {list(got)}")


def check_layout(arrays: Mapping[str, Described], where: str) -> Layout:
    """Checks names, dtypes and shapes of the arrays of `check_measurement`.

    Raises:
      ValueError: one line that names the array, what was expected and what came.
    """
    snapshots = _expect_numbers(where, arrays, "snapshots", "iufc", np.complex64)
    if snapshots.ndim != 3:
        raise ValueError(f"{where}: snapshots: expected shape [B, L, M], got {list(snapshots.shape)}")
    batch, num_snapshots, num_antennas = snapshots.shape
    for letter, size, noun in (("B", batch, "scene"), ("L", num_snapshots, "snapshot"), ("M", num_antennas, "antenna")):
        if size == 0:
            raise ValueError(f"{where}: snapshots: expected at least one {noun}, got {letter} = 0")
    channel = _expect_numbers(where, arrays, "channel", "iufc", np.complex64)
    codes = _expect_numbers(where, arrays, "ris_codes", "iufc", np.complex64)
    if channel.ndim not in (2, 3):
        raise ValueError(f"{where}: channel: expected shape [B, M, N] or [M, N], got {list(channel.shape)}")
    elements = channel.shape[-1]
    _expect_shape(where, "channel", channel, (batch, num_antennas, elements), "[B, M, N]")
    _expect_shape(where, "ris_codes", codes, (batch, num_snapshots, elements), "[B, L, N]")
    given = [name for name in LEVELS if name in arrays]
    if len(given) != 1:
        raise ValueError(
            f"{where}: snr_db: expected either snr_db or noise_power, got {' and '.join(given) or 'neither'}"
        )
    level = _expect_numbers(where, arrays, given[0], "iuf", np.float32)
    if level.shape not in ((batch,), ()):
        raise ValueError(f"{where}: {given[0]}: expected shape [B] = [{batch}], got {list(level.shape)}")
    return Layout(batch, num_snapshots, num_antennas, elements, given[0])


def measurement_of(arrays: Mapping[str, np.ndarray], layout: Layout, where: str, first: int = 0) -> Measurement:
    """Scenes of a measurement whose layout is checked, in the signature's form.

    Args:
      arrays: some of the scenes, by name; arrays without a batch axis as they are.
      layout: of the whole.
      where: named in errors.
      first: number of the first of these scenes in the whole.

    Raises:
      ValueError: one line that names the array, what was expected and what came.
    """
    for name in ("snapshots", "channel", "ris_codes", layout.level):
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{where}: {name}: expected finite numbers, got NaN or infinity")
    snapshots = arrays["snapshots"]
    batch = len(snapshots)

    def batched(name: str, rows: int) -> np.ndarray:
        return np.broadcast_to(arrays[name], (batch, rows, layout.num_elements)).astype(np.complex64)

    level = np.broadcast_to(arrays[layout.level], (batch,))
    return Measurement(
        snapshots.astype(np.complex64),
        batched("ris_codes", layout.num_snapshots),
        batched("channel", layout.num_antennas),
        level.astype(np.float32) if layout.level == "snr_db" else _snr_db(where, snapshots, level, first),
    )


def check_measurement(arrays: Mapping[str, np.ndarray], where: str = "measurement") -> Measurement:
    """Checks arrays and brings them to the signature's form.

    Args:
      arrays: snapshots [B, L, M]; ris_codes [B, L, N] or [L, N]; channel [B, M, N] or [M, N]; and one of snr_db [B]
        (dB) and noise_power [B] (sigma^2, in the units of |snapshots|^2).
      where: named in errors.

    Raises:
      ValueError: one line that names the array, what was expected and what came.
    """
    return measurement_of(arrays, check_layout(arrays, where), where)


def _snr_db(where: str, snapshots: np.ndarray, noise_power: np.ndarray, first: int) -> np.ndarray:
    """SNR = mean |y|^2 / sigma^2 - 1, dB."""
    if not (noise_power > 0).all():
        raise ValueError(f"{where}: noise_power: expected positive numbers, got {noise_power.min()}")
    received = np.mean(np.abs(snapshots.astype(np.complex128)) ** 2, axis=(1, 2))
    snr = received / noise_power - 1.0
    if not (snr > 0).all():
        scene = int(np.argmin(snr))
        raise ValueError(
            f"{where}: noise_power: expected less than the received power {received[scene]:.3g} of scene "
            f"{first + scene}, got {noise_power[scene]:.3g}"
        )
    return (10.0 * np.log10(snr)).astype(np.float32)


def read_measurement(path: Path) -> Measurement:
    """Reads and checks a measurement file; `MeasurementFile` does so a few scenes at a time.

    Raises:
      ValueError: the file is absent, no `.npz`, cut short, or its arrays are wrong.
    """
    with NpzReader(path) as file:
        layout = check_layout(file.headers, str(path))
        names = ("snapshots", "ris_codes", "channel", layout.level)
        return measurement_of({name: file.whole(name) for name in names}, layout, str(path))


def write_measurement(path: Path, measurement: Measurement) -> None:
    """Writes a measurement file beside its place, then renames it there."""
    with replacing(path) as temporary:
        arrays: dict[str, Any] = measurement.inputs(0, len(measurement))
        np.savez(temporary, **arrays)
