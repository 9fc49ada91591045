"""What `locate` accepts, on a server and in this process alike."""

import abc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from serving.client.measurement import Measurement, check_measurement
from serving.client.measurement_file import MeasurementFile
from serving.client.scene import Scene

DEFAULT_BATCH_SIZE = 32
"""Scenes per request or step, the largest batch of serving/deploy/config/batching.config, so that nothing is padded."""


@runtime_checkable
class Scenes(Protocol):
    """Scenes of one base station and surface. `Measurement` and `MeasurementFile` are examples."""

    @property
    def num_antennas(self) -> int: ...

    @property
    def num_elements(self) -> int: ...

    def batches(self, size: int) -> Iterator[Measurement]: ...


class Locator(abc.ABC):
    """A localizer, wherever it runs."""

    def locate(
        self,
        measurement: str | Path | Scenes | Mapping[str, Any] | np.ndarray | None = None,
        ris_codes: Any = None,
        channel: Any = None,
        snr_db: Any = None,
        *,
        snapshots: Any = None,
        noise_power: Any = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> list[Scene]:
        """Finds the sources of every scene.

        Args:
          measurement: path of a measurement file, a `Measurement`, `MeasurementFile` or `Simulation`, the arrays by
            name, or the snapshots; left out, the arrays below.
          ris_codes: [B, L, N] or [L, N] complex.
          channel: [B, M, N] or [M, N] complex.
          snr_db: [B] or a number, dB.
          snapshots: [B, L, M] complex.
          noise_power: sigma^2 in the units of |snapshots|^2, [B] or a number, in place of snr_db.
          batch_size: scenes per request or step, which bounds the memory.

        Raises:
          ValueError: the arrays are wrong, or belong to another installation; one line that names the field.
          ServerError: the server is unavailable or answers with an error.

        Examples:
          >>> localizer.locate("measurement.npz")
          >>> localizer.locate(snapshots=snapshots, ris_codes=ris_codes, channel=channel, snr_db=10.0)
        """
        if batch_size < 1:
            raise ValueError(f"batch_size: expected 1 or more, got {batch_size}")
        arrays = {"ris_codes": ris_codes, "channel": channel, "snr_db": snr_db, "noise_power": noise_power}
        scenes = _scenes_given(measurement, {"snapshots": snapshots, **arrays})
        self._check(scenes)
        return [scene for batch in scenes.batches(batch_size) for scene in self._located(batch)]

    @abc.abstractmethod
    def _check(self, scenes: Scenes) -> None:
        """Raises ValueError if the scenes belong to another installation."""

    @abc.abstractmethod
    def _located(self, batch: Measurement) -> list[Scene]:
        """Finds the sources of a batch, calibrated where there is a calibration."""


def _scenes_given(measurement: Any, arrays: Mapping[str, Any]) -> Scenes:
    """The scenes that a caller means. Raises ValueError for wrong arrays or files, or where both are given."""
    given = {name: np.asarray(value) for name, value in arrays.items() if value is not None}
    noise_power = given.pop("noise_power", None) if isinstance(measurement, str | Path) else None
    kinds: dict[str, Any] = {"file": str | Path, "mapping": Mapping, "measurement": Scenes}
    kind = next((kind for kind, cls in kinds.items() if isinstance(measurement, cls)), None)
    if kind is not None and given:
        raise ValueError(f"measurement: expected either a {kind} or arrays, got both: {', '.join(given)}")
    if kind == "file":
        return MeasurementFile(measurement, noise_power)
    if kind == "measurement":
        return cast(Scenes, measurement)
    if kind == "mapping":
        given = {name: np.asarray(value) for name, value in measurement.items()}
    elif measurement is not None:
        if "snapshots" in given:
            raise ValueError("measurement: expected either a measurement or snapshots, got both")
        given["snapshots"] = np.asarray(measurement)
    return check_measurement(given)


def check_sizes(scenes: Scenes, antennas: int, elements: int, whose: str) -> None:
    """Raises ValueError if M and N are not those expected of `whose`. An expected size of -1 accepts any."""
    for letter, size, got in (("M", antennas, scenes.num_antennas), ("N", elements, scenes.num_elements)):
        if size not in (-1, got):
            raise ValueError(f"channel: expected {letter} = {size} as {whose}, got {got}")
