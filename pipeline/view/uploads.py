"""Uploaded measurement files: their size is limited while they arrive, and they are verified before they are shown."""

import math
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from pipeline.view.shots import FileScenes
from serving.client.measurement_file import MeasurementFile
from serving.client.npz import NpzReader

_UNZIPPED = 8  # the arrays of a file may take this many times the largest file size


class TooLarge(ValueError):
    """A file is larger than the limit; one line."""


class Uploads:
    """A temporary folder for the last uploaded file; `close` deletes it. A file has at most `most_bytes`; its
    uncompressed arrays may take eight times as much."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._folder = Path(tempfile.mkdtemp(prefix="ris-mvdr-view-"))

    def close(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    async def receive(self, parts: AsyncIterator[bytes]) -> Path:
        """Writes the received parts to a file; the caller passes it to `scenes` or deletes it. Raises `TooLarge`."""
        room = self.most_bytes
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".npz", delete=False) as file:
            path = Path(file.name)
            try:
                async for part in parts:
                    room -= len(part)
                    if room < 0:
                        raise TooLarge(f"expected at most {self.most_bytes / 1e6:g} MB (--upload-mb)")
                    file.write(part)
            except BaseException:
                path.unlink()
                raise
        return path

    def scenes(self, path: Path, title: str) -> FileScenes:
        """Verifies a received file and returns its scenes; deletes the previous file. ValueError, one line that
        begins with the title, if it is invalid."""
        try:
            with NpzReader(path) as file:
                sizes = (math.prod(header.shape) * header.dtype.itemsize for header in file.headers.values())
                if sum(sizes) > _UNZIPPED * self.most_bytes:
                    raise ValueError(f"{path}: expected arrays of at most {_UNZIPPED * self.most_bytes / 1e6:g} MB")
            measurements = MeasurementFile(path)
            measurements.verify(1)
        except ValueError as error:
            path.unlink()
            raise ValueError(str(error).replace(str(path), title)) from None
        for other in self._folder.iterdir():
            if other != path:
                other.unlink()
        return FileScenes(title, measurements)
