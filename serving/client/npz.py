"""Reads `.npz` files in order, a few rows at a time. A file may be larger than the memory."""

import contextlib
import dataclasses
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

_BROKEN = (OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, ValueError)
_SUFFIX = ".npy"


@dataclasses.dataclass(frozen=True)
class ArrayHeader:
    """Shape and dtype of an array in the file, before it is read."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


def _read_header(stream: IO[bytes]) -> ArrayHeader:
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"an array of .npy format {version[0]}.{version[1]}")
    return ArrayHeader(*readers[version](stream))


class NpzReader:
    """A `.npz` file, compressed or not.

    Every method raises ValueError, one line that begins with the path, if the file is absent, damaged or truncated.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._naming():
            self._zip = zipfile.ZipFile(path)
        self.headers: dict[str, ArrayHeader] = {}
        try:
            for name in (member.removesuffix(_SUFFIX) for member in self._zip.namelist() if member.endswith(_SUFFIX)):
                with self._naming(), self._open(name) as stream:
                    self.headers[name] = _read_header(stream)
        except ValueError:
            self._zip.close()
            raise

    def __enter__(self) -> "NpzReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise ValueError(f"{self.path}: expected a measurement file, found none") from None
        except _BROKEN as error:
            raise ValueError(f"{self.path}: expected a whole .npz file of number arrays, got: {error}") from None

    def _open(self, name: str) -> IO[bytes]:
        return self._zip.open(name + _SUFFIX)

    def whole(self, name: str) -> np.ndarray:
        """The whole array."""
        with self._naming(), self._open(name) as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
            self._expect_end(stream)
            return array

    def rows(self, name: str, size: int) -> Iterator[np.ndarray]:
        """An array along its first axis, `size` rows at a time or fewer. One in Fortran order is read whole."""
        header = self.headers[name]
        if header.fortran_order:
            array = self.whole(name)
            yield from (array[start : start + size] for start in range(0, len(array), size))
            return
        row_bytes = int(np.prod(header.shape[1:], dtype=np.int64)) * header.dtype.itemsize
        with self._naming():
            stream = self._open(name)
        with stream:
            with self._naming():
                _read_header(stream)
            for start in range(0, header.shape[0], size):
                count = min(size, header.shape[0] - start)
                with self._naming():
                    content = stream.read(count * row_bytes)
                    if len(content) != count * row_bytes:
                        raise ValueError(f"{name} cut short")
                yield np.frombuffer(content, header.dtype).reshape(count, *header.shape[1:])
            with self._naming():
                self._expect_end(stream)

    @staticmethod
    def _expect_end(stream: IO[bytes]) -> None:
        """Reads to the end, which also makes `zipfile` compare the checksum."""
        if stream.read(1):
            raise ValueError("more bytes than the array's shape requires")
