"""Measurements (docs/conventions.md) and their one check, shared by client, Python API and imports."""

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from serving.client.axes import misordered
from serving.client.files import replacing
from serving.client.npz import ArrayHeader, NpzReader

LEVELS = ("snr_db", "noise_power")
INPUTS = ("snapshots", "ris_codes", "channel", "snr_db")
"""Inputs of the model's signatures."""

SNR_LIMIT_DB = 100.0
"""Larger magnitudes are refused: the dynamic range of a 16-bit receiver is 98 dB."""
USUAL_SNR_DB = (-30.0, 50.0)
"""SNRs outside this range raise a warning. The model treats everything above 50 dB as 50 dB. At -30 dB the gain of the
default measurement, 64 snapshots of 16 antennas or 30 dB, is used up."""
USUAL_MODULUS = (0.5, 1.5)
"""Codes with |c| outside this range raise a warning; the signal model has |c| = 1."""


class MeasurementWarning(UserWarning):
    """A measurement that is possible, but probably not meant. One line that names the array."""


@dataclasses.dataclass(frozen=True, repr=False)
class Measurement:
    """A batch of scenes in the form of the model's signature.

    snapshots: [B, L, M] complex64. ris_codes: [B, L, N] complex64. channel: [B, M, N] complex64.
    snr_db: [B] float32, dB.
    """

    snapshots: np.ndarray
    ris_codes: np.ndarray
    channel: np.ndarray
    snr_db: np.ndarray

    def __len__(self) -> int:
        return len(self.snapshots)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self)} scenes, {self.snapshots.shape[1]} snapshots, "
            f"{self.num_antennas} antennas, {self.num_elements} elements)"
        )

    @property
    def num_antennas(self) -> int:
        """M."""
        return self.channel.shape[1]

    @property
    def num_elements(self) -> int:
        """N."""
        return self.channel.shape[2]

    def inputs(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Scenes start to stop - 1, by input name."""
        return {name: getattr(self, name)[start:stop] for name in INPUTS}

    def batches(self, size: int) -> "Iterator[Measurement]":
        """All scenes in order, `size` at a time. The last batch may be smaller."""
        for first in range(0, len(self), size):
            yield Measurement(**self.inputs(first, first + size))

    def save(self, path: str | Path) -> None:
        """Writes a measurement file."""
        write_measurement(Path(path), self)


Described = np.ndarray | ArrayHeader
"""An array, or the header of an array that is not read yet."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Sizes of a measurement: scenes B, snapshots L, antennas M, elements N; and which of `LEVELS` it has."""

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
    """The batch axis may be absent."""
    got = (shape[0], *array.shape) if array.ndim == len(shape) - 1 else array.shape
    if got != shape:
        raise ValueError(f"{where}: {name}: expected shape {letters} = {list(shape)}, got {list(got)}")


def check_layout(arrays: Mapping[str, Described], where: str) -> Layout:
    """Checks names, dtypes and shapes of the arrays of `check_measurement`. Raises ValueError, one line."""
    snapshots = _expect_numbers(where, arrays, "snapshots", "iufc", np.complex64)
    if snapshots.ndim != 3:
        raise ValueError(f"{where}: snapshots: expected shape [B, L, M], got {list(snapshots.shape)}")
    batch, num_snapshots, num_antennas = snapshots.shape
    for letter, size, noun in (("B", batch, "scene"), ("L", num_snapshots, "snapshot"), ("M", num_antennas, "antenna")):
        if size == 0:
            raise ValueError(f"{where}: snapshots: expected at least one {noun}, got {letter} = 0")
    channel = _expect_numbers(where, arrays, "channel", "iufc", np.complex64)
    codes = _expect_numbers(where, arrays, "ris_codes", "iufc", np.complex64)
    if codes.dtype.kind != "c":  # the model would read phases, or real parts alone, as amplitudes
        raise ValueError(
            f"{where}: ris_codes: expected complex reflection coefficients, got dtype {codes.dtype}; "
            "convert phases in radians by np.exp(1j * phases)"
        )
    if channel.ndim not in (2, 3):
        raise ValueError(f"{where}: channel: expected shape [B, M, N] or [M, N], got {list(channel.shape)}")
    given = [name for name in LEVELS if name in arrays]
    scenes = arrays[given[0]].shape if len(given) == 1 else ()
    fault = misordered(snapshots.shape, codes.shape, channel.shape, scenes)
    if fault is not None:
        raise ValueError(f"{where}: {fault}")
    elements = channel.shape[-1]
    _expect_shape(where, "channel", channel, (batch, num_antennas, elements), "[B, M, N]")
    _expect_shape(where, "ris_codes", codes, (batch, num_snapshots, elements), "[B, L, N]")
    if len(given) != 1:
        got = " and ".join(given) or "neither"
        raise ValueError(f"{where}: snr_db: expected either snr_db or noise_power, got {got}")
    level = _expect_numbers(where, arrays, given[0], "iuf", np.float32)
    if level.shape not in ((batch,), ()):
        raise ValueError(f"{where}: {given[0]}: expected shape [B] = [{batch}], got {list(level.shape)}")
    return Layout(batch, num_snapshots, num_antennas, elements, given[0])


def measurement_of(arrays: Mapping[str, np.ndarray], layout: Layout, where: str, first: int = 0) -> Measurement:
    """Scenes of a measurement in the signature's form. Raises ValueError, one line that names the array.

    Args:
      arrays: some of the scenes, by name, from number `first` on. Arrays without a batch axis stay whole.
      layout: layout of the whole measurement, checked.
    """
    for name in ("snapshots", "channel", "ris_codes", layout.level):
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{where}: {name}: expected finite numbers, got NaN or infinity")
    for name in ("snapshots", "channel", "ris_codes"):
        _expect_signal(where, name, arrays[name], first)
    snapshots, batch = arrays["snapshots"], len(arrays["snapshots"])

    def batched(name: str, rows: int) -> np.ndarray:
        return np.broadcast_to(arrays[name], (batch, rows, layout.num_elements)).astype(np.complex64)

    level = np.broadcast_to(arrays[layout.level], (batch,))
    if layout.level == "noise_power":
        level = _snr_db(where, snapshots, level, first)
    elif np.max(np.abs(level)) > SNR_LIMIT_DB:
        scene = int(np.argmax(np.abs(level)))
        raise ValueError(
            f"{where}: snr_db: expected dB between {-SNR_LIMIT_DB:g} and {SNR_LIMIT_DB:g}, got {level[scene]:.6g} in "
            f"scene {first + scene}; convert a ratio of powers by 10 * np.log10(ratio)"
        )
    codes, channel = batched("ris_codes", layout.num_snapshots), batched("channel", layout.num_antennas)
    return Measurement(snapshots.astype(np.complex64), codes, channel, level.astype(np.float32))


def check_measurement(arrays: Mapping[str, np.ndarray], where: str = "measurement") -> Measurement:
    """Checks arrays and brings them to the signature's form.

    Args:
      arrays: snapshots [B, L, M]; ris_codes [B, L, N] or [L, N], complex; channel [B, M, N] or [M, N]; and either
        snr_db [B] (dB) or noise_power [B] (sigma^2, in the units of |snapshots|^2).
      where: start of error messages.

    Raises:
      ValueError: one line that names the array, what was expected and what was given.

    Warns:
      MeasurementWarning: the codes or the SNR are possible, but probably not meant.
    """
    layout = check_layout(arrays, where)
    measurement = measurement_of(arrays, layout, where)
    warn(where, doubts(arrays["ris_codes"], measurement.snr_db, layout))
    return measurement


def doubts(ris_codes: np.ndarray, snr_db: np.ndarray, layout: Layout, first: int = 0) -> dict[str, str]:
    """What is possible, but probably not meant: array name -> message.

    Args:
      ris_codes, snr_db, layout: of a measurement, or of some of its scenes.
      first: number of the first of these scenes in the whole measurement.
    """
    found = {}
    modulus = np.abs(ris_codes)
    low, high = USUAL_MODULUS
    share = np.mean((modulus < low) | (modulus > high))
    if share > 0:
        found["ris_codes"] = (
            f"expected reflection coefficients with |c| near 1, got |c| from {modulus.min():.3g} to "
            f"{modulus.max():.3g}, {share:.1%} of them outside {low} to {high}; "
            "are these phases? then convert them by np.exp(1j * phases)"
        )
    lowest, highest = USUAL_SNR_DB
    scene = int(np.argmax(snr_db))
    if snr_db[scene] > highest:
        cause = (
            "is it a ratio of powers? then convert it by 10 * np.log10(ratio)"
            if layout.level == "snr_db"
            else "is it in the units of |snapshots|^2?"
        )
        found[layout.level] = (
            f"expected an SNR of at most {highest:g} dB, got {snr_db[scene]:.4g} dB in scene {first + scene}; {cause}"
        )
    scene = int(np.argmin(snr_db))
    if layout.level == "snr_db" and snr_db[scene] < lowest:
        found[layout.level] = (
            f"expected an SNR of at least {lowest:g} dB, got {snr_db[scene]:.4g} dB in scene {first + scene}; "
            "is it a noise level in dBm? then give noise_power in the units of |snapshots|^2"
        )
    return found


def warn(where: str, found: Mapping[str, str]) -> None:
    """Issues a `MeasurementWarning` for each of `doubts`."""
    for name, message in found.items():
        warnings.warn(f"{where}: {name}: {message}", MeasurementWarning, stacklevel=3)


def _expect_signal(where: str, name: str, array: np.ndarray, first: int) -> None:
    """Zeros only are an array that was never filled, or a receiver that was off."""
    used = array.any(axis=(-2, -1))
    if not used.all():
        scene = "" if array.ndim == 2 else f" in scene {first + int(np.argmin(used))}"
        raise ValueError(f"{where}: {name}: expected numbers other than zero, got zeros only{scene}")


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
    snr_db = 10.0 * np.log10(snr)
    scene = int(np.argmax(snr_db))
    if snr_db[scene] > SNR_LIMIT_DB:
        raise ValueError(
            f"{where}: noise_power: expected at most {SNR_LIMIT_DB:g} dB below the received power "
            f"{received[scene]:.3g} of scene {first + scene}, got {noise_power[scene]:.3g}"
        )
    return snr_db


def read_measurement(path: str | Path) -> Measurement:
    """Reads and checks a measurement file, as `check_measurement`. `MeasurementFile` reads a few scenes at a time.

    Raises:
      ValueError: the file is absent, not a `.npz` file or truncated, or its arrays are wrong.
    """
    with NpzReader(Path(path)) as file:
        layout = check_layout(file.headers, str(path))
        arrays = {name: file.whole(name) for name in ("snapshots", "ris_codes", "channel", layout.level)}
    measurement = measurement_of(arrays, layout, str(path))
    warn(str(path), doubts(arrays["ris_codes"], measurement.snr_db, layout))
    return measurement


def write_measurement(path: Path, measurement: Measurement) -> None:
    """Writes a measurement file. It appears whole or not at all."""
    with replacing(path) as temporary:
        np.savez(temporary, **measurement.inputs(0, len(measurement)))  # type: ignore[arg-type]
