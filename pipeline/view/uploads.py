"""Measurement files that are dropped on the page: bounded while they come, checked whole before they are shown."""

import math
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from pipeline.view.shots import FileScenes
from serving.client.measurement_file import MeasurementFile
from serving.client.npz import NpzReader

_UNZIPPED = 8  # times the largest file, of what its arrays take


class TooLarge(ValueError):
    """A file above the limit; one line."""


class Uploads:
    """A folder of its own for the last file; goes when this is closed.

    Args:
      most_bytes: of a file. Its arrays may take eight times as many, unzipped.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._folder = Path(tempfile.mkdtemp(prefix="ris-mvdr-view-"))

    def close(self) -> None:
        """Deletes the files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    async def receive(self, parts: AsyncIterator[bytes]) -> Path:
        """A file of what comes, to be given to `scenes` or deleted.

        Raises:
          TooLarge: more came than a file may have.
        """
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
        """The scenes of a file that was received, read once; the file before it goes.

        Raises:
          ValueError: what is wrong with it, in one line that begins with its title.
        """
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
