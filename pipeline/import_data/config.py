"""Contents of a map, docs/import.md. Imports nothing heavy, so that a map is checked quickly."""

from pathlib import Path
from typing import Annotated, Literal

import pydantic
from annotated_types import Interval

from models.checked import FileIn, checked

Format = Literal["hdf5", "mat", "npz", "sigmf", "tfrecord"]
Axis = Literal["scene", "snapshot", "antenna", "element", "row", "column", "part"]

_SUFFIXES: dict[str, Format] = {
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".mat": "mat",
    ".npz": "npz",
    ".sigmf-meta": "sigmf",
    ".sigmf-data": "sigmf",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
}
_WAYS = (("name",), ("real", "imag"), ("amplitude", "phase"), ("phase",), ("index",))


def _each_once(axes: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(axes)) < len(axes):
        raise ValueError(f"expected each axis once, got {list(axes)}")
    return axes


def _sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    if sum(size == -1 for size in shape) > 1 or any(size < 1 and size != -1 for size in shape):
        raise ValueError(f"expected positive sizes, at most one of them -1, got {list(shape)}")
    return shape


Shape = Annotated[tuple[int, ...], pydantic.AfterValidator(_sizes)]


@checked(frozen=True)
class ArrayMap:
    """Place and format of an array."""

    name: str | None = None
    """Dataset of complex numbers or of two parts. Slashes separate groups or structs."""
    real: str | None = None
    imag: str | None = None
    """Datasets of the real and imaginary parts."""
    amplitude: str | None = None
    phase: str | None = None
    """Datasets of amplitude and phase. Without amplitude it is 1."""
    index: str | None = None
    """Dataset of phase indices: exp(2j pi index / 2^bits)."""
    bits: Annotated[int, Interval(ge=1, le=8)] | None = None
    """Bits of a phase index; goes with `index`."""
    parts: Literal["complex", "real_imag", "amplitude_phase"] = "complex"
    """Contents of `name`: complex numbers, or two parts along the axis "part"."""
    axes: Annotated[tuple[Axis, ...], pydantic.AfterValidator(_each_once)] | None = None
    """Axes of the dataset in order. Default: those of the measurement file, "part" last, "scene" if there are
    enough."""
    shape: Shape | None = None
    """Shape to which the dataset is reshaped first, -1 for the rest. The last axis is fastest; for MATLAB the first."""
    phase_unit: Literal["rad", "deg"] = "rad"
    amplitude_unit: Literal["linear", "db"] = "linear"
    """"db" is 20 log10."""
    scale: float = 1.0
    """Factor of the array."""
    conj: bool = False
    """Conjugates the array: for phases that rise with distance."""
    files: tuple[FileIn, ...] = ()
    """Files of this array. Default: those of the map."""
    format: Format | None = None

    def __post_init__(self) -> None:
        given = self.names
        if not any(set(given) == set(way) for way in _WAYS):
            ways = ", ".join(" and ".join(way) for way in _WAYS)
            raise ValueError(f"name: expected one of {ways}, got {' and '.join(given) or 'none'}")
        if (self.index is None) != (self.bits is None):
            raise ValueError(f"bits: expected with index and only there, got {self.bits!r}")
        if self.parts != "complex" and self.name is None:
            raise ValueError(f'parts: expected with name, got "{self.parts}" without it')
        if self.axes is not None and ("part" in self.axes) != (self.parts != "complex"):
            raise ValueError('axes: expected "part" with parts and only there, got ' + str(list(self.axes)))
        for part in ("amplitude", "phase"):
            key = f"{part}_unit"
            is_default = getattr(self, key) == type(self).__dataclass_fields__[key].default
            if not is_default and getattr(self, part) is None and self.parts != "amplitude_phase":
                raise ValueError(f"{key}: expected with {part} and only there, got {getattr(self, key)}")
        if self.scale == 0:
            raise ValueError("scale: expected a number other than 0, got 0")

    @property
    def names(self) -> dict[str, str]:
        """Names of the datasets, by the key that holds them."""
        held = ("name", "real", "imag", "amplitude", "phase", "index")
        return {key: getattr(self, key) for key in held if getattr(self, key) is not None}


@checked(frozen=True)
class LevelMap:
    """SNR or noise power: a dataset or a number."""

    name: str | None = None
    value: float | None = None
    """Value for all scenes."""
    unit: Literal["db", "linear", "w", "dbw", "dbm"] | None = None
    """Unit: "db" or "linear" of an SNR; "linear", "w", "dbw" or "dbm" of a noise power."""
    axes: Annotated[tuple[Literal["scene"], ...], pydantic.AfterValidator(_each_once)] | None = None
    """Axes of the dataset. [] is one number per file."""
    shape: Shape | None = None
    files: tuple[FileIn, ...] = ()
    format: Format | None = None

    def __post_init__(self) -> None:
        if (self.name is None) == (self.value is None):
            raise ValueError("name: expected one of name and value, got " + ("both" if self.name else "none"))
        if self.value is not None and (self.axes is not None or self.shape or self.files or self.format):
            raise ValueError("value: expected no axes, shape, files or format, got one of them")


@checked(frozen=True)
class ImportMap:
    """Map of a measurement."""

    snapshots: ArrayMap
    ris_codes: ArrayMap
    channel: ArrayMap
    snr: LevelMap | None = None
    noise_power: LevelMap | None = None
    files: tuple[FileIn, ...] = ()
    """Files, joined along the scenes. Paths are relative to the map."""
    format: Format | None = None
    """Format of the files. Default: by their endings."""

    def __post_init__(self) -> None:
        if (self.snr is None) == (self.noise_power is None):
            got = "none" if self.snr is None else "both"
            raise ValueError(f"snr: expected one of the tables [snr] and [noise_power], got {got}")
        for table, units in (("snr", ("db", "linear")), ("noise_power", ("linear", "w", "dbw", "dbm"))):
            level = getattr(self, table)
            if level is not None and level.unit not in units:
                raise ValueError(f"{table}.unit: expected one of {', '.join(units)}, got {level.unit or 'none'}")


def format_of(path: Path, told: Format | None) -> Format:
    """Format of a file: the given one, else by the ending of its name; ValueError for an unknown ending."""
    if told is not None:
        return told
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"{path}: expected a format, or a name that ends with one of {', '.join(_SUFFIXES)}")
    return _SUFFIXES[path.suffix.lower()]
