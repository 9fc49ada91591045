"""TOML tables into frozen dataclasses: types by annotation, unknown keys refused by name."""

import dataclasses
import math
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")

_NAMES: dict[Any, str] = {str: "a word in quotes", bool: "true or false", int: "a whole number", float: "a number"}


def from_table(kind: type[Kind], table: Any, folder: Path, name: str = "") -> Kind:
    """A dataclass from a table; a table within is a field that is a dataclass.

    Args:
      kind: the dataclass; what its `__post_init__` refuses begins with the field's name.
      table: as `tomllib` gives it.
      folder: what paths are relative to.
      name: of the table, dotted, in messages.

    Raises:
      ValueError: an unknown or missing key, a wrong type, or what the dataclass refuses; one line that names the key.
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"{name}: expected a table [{name}], got {table!r}")
    prefix = f"{name}." if name else ""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            raise ValueError(f"{prefix}{key}: unknown, expected one of {', '.join(fields)}")
    hints = get_type_hints(kind)
    for key, field in fields.items():
        if field.default is dataclasses.MISSING and key not in table:
            wanted = f"a table [{prefix}{key}]" if dataclasses.is_dataclass(hints[key]) else "a value"
            raise ValueError(f"{prefix}{key}: expected {wanted}, got none")
    values = {key: _value(hints[key], value, folder, prefix + key) for key, value in table.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from None


def _value(hint: Any, value: Any, folder: Path, name: str) -> Any:
    if get_origin(hint) in (types.UnionType, Union):
        (hint,) = (one for one in get_args(hint) if one is not types.NoneType)
    if dataclasses.is_dataclass(hint):
        return from_table(hint, value, folder, name)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{name}: expected a list, got {value!r}")
        return tuple(_value(get_args(hint)[0], item, folder, name) for item in value)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ValueError(f"{name}: expected one of {', '.join(map(str, get_args(hint)))}, got {value!r}")
        return value
    if hint is Path:
        return folder / _value(str, value, folder, name)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ValueError(f"{name}: expected {_NAMES[hint]}, got {value!r}")
    if hint is float and not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value!r}")
    return value
