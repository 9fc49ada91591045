"""What `locate` accepts, on a server and in this process alike."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from serving.client.measurement import Measurement, check_measurement
from serving.client.measurement_file import MeasurementFile

DEFAULT_BATCH_SIZE = 32
"""Scenes per request or step, the largest batch of serving/deploy/config/batching.config, so that nothing is padded."""

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


def scenes_given(measurement: Any, **arrays: Any) -> Scenes:
    """The scenes that a caller means.

    Args:
      measurement: path of a measurement file, `Scenes`, arrays by name, the array of snapshots, or None.
      arrays: snapshots, ris_codes, channel, snr_db, noise_power; None where not given.

    Raises:
      ValueError: the arrays or the file are wrong, or both were given; one line that names the field.
    """
    given = {name: np.asarray(value) for name, value in arrays.items() if value is not None}
    if measurement is None:
        return check_measurement(given)
    if isinstance(measurement, str | Path):
        noise_power = given.pop("noise_power", None)
        _expect_none(given, "file")
        return MeasurementFile(measurement, noise_power)
    if isinstance(measurement, Mapping):
        _expect_none(given, "mapping")
        return check_measurement({name: np.asarray(value) for name, value in measurement.items()})
    if isinstance(measurement, Scenes):
        _expect_none(given, "measurement")
        return cast(Scenes, measurement)
    if "snapshots" in given:
        raise ValueError("measurement: expected either a measurement or snapshots, got both")
    return check_measurement({"snapshots": np.asarray(measurement), **given})


def _expect_none(given: Mapping[str, np.ndarray], kind: str) -> None:
    if given:
        raise ValueError(f"measurement: expected either a {kind} or arrays, got both: {', '.join(given)}")


def check_batch_size(batch_size: int) -> None:
    """Raises ValueError for a batch size below 1."""
    if batch_size < 1:
        raise ValueError(f"batch_size: expected 1 or more, got {batch_size}")


def check_sizes(scenes: Scenes, antennas: int, elements: int, whose: str) -> None:
    """Compares M and N.

    Args:
      scenes: a measurement.
      antennas, elements: expected M and N; -1 accepts any.
      whose: what they belong to, for errors.

    Raises:
      ValueError: they differ.
    """
    for letter, size, got in (("M", antennas, scenes.num_antennas), ("N", elements, scenes.num_elements)):
        if size not in (-1, got):
            raise ValueError(f"channel: expected {letter} = {size} as {whose}, got {got}")
