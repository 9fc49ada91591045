"""A measurement file a few scenes at a time: one larger than the memory is sent as well as a small one."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from serving.client.measurement import LEVELS, Described, Layout, Measurement, check_layout, measurement_of
from serving.client.npz import NpzReader

_SNAPSHOTS = "snapshots"


class MeasurementFile:
    """A measurement file whose arrays are checked and whose scenes stay on the disk.

    Args:
      path: the `.npz` file, compressed or not. Arrays in Fortran order are read whole.
      noise_power: sigma^2 [B] or a number, in the units of |snapshots|^2, in place of the file's snr_db or noise_power.

    Raises:
      ValueError: the file is absent, no `.npz`, or its arrays have wrong names, dtypes or shapes; one line.
    """

    def __init__(self, path: Path, noise_power: np.ndarray | None = None) -> None:
        self.path = path
        self._held: dict[str, np.ndarray] = {} if noise_power is None else {"noise_power": noise_power}
        with NpzReader(path) as file:
            replaced = () if noise_power is None else LEVELS
            described: dict[str, Described] = {
                name: header for name, header in file.headers.items() if name not in replaced
            }
            described.update(self._held)
            self.layout: Layout = check_layout(described, str(self.path))
            self._streamed = [_SNAPSHOTS]
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
        """All scenes in order.

        Args:
          size: scenes at a time, the last time fewer.

        Raises:
          ValueError: the file is cut short, or holds numbers that are not finite or powers that cannot be.
        """
        level = self._held[self.layout.level]
        with NpzReader(self.path) as file:
            streams = [file.rows(name, size) for name in self._streamed]
            for first, rows in zip(itertools.count(0, size), zip(*streams, strict=True), strict=False):
                arrays = {**self._held, **dict(zip(self._streamed, rows, strict=True))}
                arrays[self.layout.level] = level if level.ndim == 0 else level[first : first + size]
                yield measurement_of(arrays, self.layout, str(self.path), first)

    def verify(self, size: int, use: Callable[[Measurement], Any] = lambda scenes: scenes) -> None:
        """Reads the file once, `size` scenes at a time, so that what is wrong is said before anything is sent.

        Args:
          size: scenes a batch.
          use: what is made of each batch.

        Raises:
          ValueError: see `batches`, and what `use` raises.
        """
        for scenes in self.batches(size):
            use(scenes)
