"""Measurement files read a few scenes at a time. A file may be larger than the memory."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from serving.client.measurement import LEVELS, Described, Measurement, check_layout, doubts, measurement_of, warn
from serving.client.npz import NpzReader


class MeasurementFile:
    """A measurement file. Its arrays are checked at once; its scenes stay on disk until they are asked for.

    Args:
      path: the `.npz` file, compressed or not. Arrays in Fortran order are read whole.
      noise_power: sigma^2 [B] or a number, in the units of |snapshots|^2. Replaces the file's snr_db or noise_power.

    Raises:
      ValueError: the file is absent or not a `.npz` file, or its arrays have wrong names, dtypes or shapes; one line.
    """

    def __init__(self, path: str | Path, noise_power: np.ndarray | None = None) -> None:
        self.path = Path(path)
        self._held: dict[str, np.ndarray] = {} if noise_power is None else {"noise_power": noise_power}
        self._warned: set[str] = set()
        with NpzReader(self.path) as file:
            replaced = () if noise_power is None else LEVELS
            kept: dict[str, Described] = {name: file.headers[name] for name in file.headers if name not in replaced}
            self.layout = check_layout({**kept, **self._held}, str(self.path))
            self._streamed = ["snapshots"]
            for name in ("ris_codes", "channel"):
                if file.headers[name].ndim == 3:
                    self._streamed.append(name)
                else:
                    self._held[name] = file.whole(name)
            if noise_power is None:
                self._held[self.layout.level] = file.whole(self.layout.level)

    def __len__(self) -> int:
        return self.layout.num_scenes

    @property
    def num_antennas(self) -> int:
        """M."""
        return self.layout.num_antennas

    @property
    def num_elements(self) -> int:
        """N."""
        return self.layout.num_elements

    def batches(self, size: int) -> Iterator[Measurement]:
        """All scenes in order, `size` at a time; the last batch may be smaller. A doubt is warned of once per file.

        Raises:
          ValueError: the file is truncated, or holds numbers that are not finite or powers that cannot be.

        Warns:
          MeasurementWarning: the codes or the SNR are possible, but probably not meant.
        """
        level = self._held[self.layout.level]
        with NpzReader(self.path) as file:
            streams = [file.rows(name, size) for name in self._streamed]
            for first, rows in zip(itertools.count(0, size), zip(*streams, strict=True), strict=False):
                arrays = {**self._held, **dict(zip(self._streamed, rows, strict=True))}
                arrays[self.layout.level] = level if level.ndim == 0 else level[first : first + size]
                measurement = measurement_of(arrays, self.layout, str(self.path), first)
                found = doubts(arrays["ris_codes"], measurement.snr_db, self.layout, first)
                warn(str(self.path), {name: found[name] for name in found if name not in self._warned})
                self._warned.update(found)
                yield measurement

    def verify(self, size: int, use: Callable[[Measurement], Any] = lambda scenes: scenes) -> None:
        """Reads all scenes and calls `use` with each batch, so that errors show before anything is sent."""
        for scenes in self.batches(size):
            use(scenes)
