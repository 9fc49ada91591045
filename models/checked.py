"""Frozen dataclasses, read from TOML or JSON, whose types and bounds pydantic checks. Every error is one line.

Bounds are annotations, such as `Annotated[int, Interval(ge=1)]`. A check of several fields is a `__post_init__` that
raises ValueError("FIELD: expected ..., got ..."). The only conversion is that of integers to floats.
"""

import dataclasses
import functools
import itertools
import json
import math
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import pydantic
from annotated_types import Interval
from typing_extensions import is_typeddict

Kind = TypeVar("Kind")

AtLeast0 = Annotated[int, Interval(ge=0)]
AtLeast1 = Annotated[int, Interval(ge=1)]
Positive = Annotated[float, Interval(gt=0)]
NotNegative = Annotated[float, Interval(ge=0)]
Probability = Annotated[float, Interval(ge=0, le=1)]
InsideUnit = Annotated[float, Interval(gt=0, lt=1)]


def _not_nan(value: float) -> float:
    if math.isnan(value):
        raise ValueError("expected a number, got nan")
    return value


Infinite = Annotated[float, pydantic.AllowInfNan(True), pydantic.AfterValidator(_not_nan)]
"""A number that may be infinite; all others are finite."""
Depth = Annotated[Infinite, Interval(ge=0)]
"""How far below a maximum, dB; infinite takes all."""


def _in_folder(path: Path, info: pydantic.ValidationInfo) -> Path:
    return path if info.context is None else info.context / path


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] <= limits[1]:
        raise ValueError(f"expected [low, high] with low <= high, got {list(limits)!r}")
    return limits


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if not all(low < high for low, high in itertools.pairwise(values)):
        raise ValueError(f"expected ascending numbers, got {list(values)!r}")
    return values


FileIn = Annotated[Path, pydantic.AfterValidator(_in_folder)]
"""A path. In a file, it is relative to the folder of the file."""
Ordered, Ascending = pydantic.AfterValidator(_ordered), pydantic.AfterValidator(_ascending)
"""Checks of a tuple: two numbers with low <= high; numbers that are each above the one before."""
Limits = Annotated[tuple[float, float], Ordered]

CHECKS = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""Settings of pydantic for every dataclass here. A TypedDict takes them as `__pydantic_config__`."""

_EXPECTED = {
    "bool_type": "true or false",
    "dataclass_exact_type": "{class_name}",
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "is_instance_of": "{class}",
    "list_type": "a list",
    "missing": "a value",
    "path_type": "a path",
    "string_type": "a word in quotes",
    "too_short": "at least {min_length}",
    "tuple_type": "a list",
}
_TABLES = ("dataclass_type", "dict_type", "model_type")
_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


def _checked_class(*, frozen: bool) -> Callable[[type[Kind]], type[Kind]]:
    """A dataclass whose errors start with CLASS.field."""
    return functools.partial(_checked, _in_class)


def _options_class(*, frozen: bool) -> Callable[[type[Kind]], type[Kind]]:
    """A dataclass of options, whose errors start with --flag."""
    return functools.partial(_checked, _as_flag)


if TYPE_CHECKING:
    from dataclasses import dataclass as checked
    from dataclasses import dataclass as stage_options
else:
    checked, stage_options = _checked_class, _options_class


def _in_class(cls: type, line: str) -> str:
    return f"{cls.__name__}.{line}"


def _as_flag(cls: Any, line: str) -> str:
    name = line.partition(":")[0].partition("[")[0]  # in a list, the number of the item follows
    return line if name not in cls.__dataclass_fields__ else f"--{name.replace('_', '-')}{line.removeprefix(name)}"


def _checked(named: Callable[[type, str], str], cls: type[Kind]) -> type[Kind]:
    made: Any = pydantic.dataclasses.dataclass(frozen=True, config=CHECKS)(cls)
    fields, init = made.__dataclass_fields__, made.__init__
    # Shared options last.
    made.__dataclass_fields__ = dict(sorted(fields.items(), key=lambda item: item[1].kw_only is True))

    @functools.wraps(init)
    def one_line_init(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except pydantic.ValidationError as error:
            raise ValueError(named(type(self), one_line(error, made))) from None

    made.__init__ = one_line_init
    return made


def read_toml(path: Path, kind: Any) -> Any:
    """Reads a TOML file as `kind`: a dataclass, a TypedDict or another type.

    Raises:
      ValueError: the file is missing, or has bad syntax, an unknown key or an invalid value; one line with the path.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a TOML file, got: {getattr(error, 'strerror', None) or error}") from None
    return from_json(tables, kind, f"{path}: ", path.parent)


def read_json(path: Path, kind: Any) -> Any:
    """Reads a JSON file in the same way."""
    try:
        return _validated(path.read_bytes(), kind, f"{path}: ", path.parent)
    except OSError as error:
        raise ValueError(f"{path}: expected a JSON file, got: {error.strerror or error}") from None


def from_json(value: Any, kind: Any, before: str, folder: Path | None = None) -> Any:
    """Converts a value from JSON or TOML (dictionaries, lists, text, numbers) to `kind`.

    Errors start with `before`. `FileIn` paths are relative to `folder`.

    Raises:
      ValueError: the value is invalid; one line.
    """
    return _validated(json.dumps(value, default=lambda other: {"date or time": str(other)}), kind, before, folder)


def stored(settings: Any, kind: type[Kind]) -> Kind:
    """Reverses `dataclasses.asdict` for a `kind`, also after JSON: the settings of a Keras layer.

    Raises:
      TypeError: the settings are invalid; Keras expects this type of error.
    """
    try:
        return from_json(settings, kind, "")  # type: ignore[no-any-return]
    except ValueError as error:
        raise TypeError(str(error)) from None


def _validated(text: str | bytes, kind: Any, before: str, folder: Path | None) -> Any:
    own_config = dataclasses.is_dataclass(kind) or hasattr(kind, "__pydantic_config__")
    try:
        return pydantic.TypeAdapter(kind, config=None if own_config else CHECKS).validate_json(text, context=folder)
    except pydantic.ValidationError as error:
        raise ValueError(before + one_line(error, kind)) from None


def one_line(error: pydantic.ValidationError, kind: Any) -> str:
    """One line for the first error of pydantic in a `kind`: FIELD: expected ..., got ..."""
    first = error.errors(include_url=False)[0]
    place, what, context, given = first["loc"], first["type"], first.get("ctx", {}), first["input"]
    if dataclasses.is_dataclass(kind) and place and isinstance(place[0], int):  # a positional argument
        place = ([field.name for field in dataclasses.fields(kind) if not field.kw_only][place[0]], *place[1:])
    if what == "missing" and isinstance(place[-1], int):  # the end of a tuple
        place, what = place[:-1], "too_long"
    if what == "json_invalid":
        return f"expected JSON, got: {context['error']}"
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    if what == "value_error":
        said = str(context["error"])
        return said if not where else f"{where}{'.' if _fields(_hint(kind, place)) else ': '}{said}"
    if what in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{where}: unknown, expected one of {', '.join(_fields(_hint(kind, place[:-1])))}"
    expected = _expected(what, context, _hint(kind, place), where) or first["msg"]
    return f"{where}{': ' if where else ''}expected {expected}, got {'none' if what == 'missing' else repr(given)}"


def _expected(what: str, context: dict[str, Any], hint: Any, where: str) -> str | None:
    """Text of the expected value, from the type of a pydantic error and the annotation `hint`."""
    if what in _TABLES or (what == "missing" and _fields(hint)):
        return f"a table [{where}]" if where else "a table"
    if what in _EXPECTED:
        return _EXPECTED[what].format(**context)
    for part in _parts(hint):
        if what in _BOUNDS and isinstance(part, Interval):
            return _range(part)
        if what == "too_long" and get_origin(part) is tuple:
            return f"{len(get_args(part))} values"
        if what == "literal_error" and get_origin(part) is Literal:
            return f"one of {', '.join(map(str, get_args(part)))}"
    return None


def _range(limits: Interval) -> str:
    bounds = (limits.gt if limits.ge is None else limits.ge, limits.lt if limits.le is None else limits.le)
    low, high = (None if bound is None else f"{bound:.15g}" for bound in bounds)
    if low is None:
        return f"{high} or less"
    if high is None:
        return f"{low} or more" if limits.gt is None else "a positive number" if low == "0" else f"more than {low}"
    if limits.gt is None and limits.lt is None:
        return f"{low} to {high}"
    return f"a number in {'(' if limits.ge is None else '['}{low}, {high}{')' if limits.le is None else ']'}"


def _hint(kind: Any, place: tuple[int | str, ...]) -> Any:
    """Annotation of a nested field."""
    for name in place:
        if isinstance(name, str):
            kind = _fields(kind).get(name)
    return kind


def _fields(hint: Any) -> dict[str, Any]:
    """Annotations of the fields, by name, of the class in an annotation; none if there is no class."""
    for part in _parts(hint):
        if isinstance(part, type) and (dataclasses.is_dataclass(part) or is_typeddict(part)):
            return get_type_hints(part, include_extras=True)
    return {}


def _parts(hint: Any) -> Iterator[Any]:
    yield hint
    for part in get_args(hint):
        yield from _parts(part)
