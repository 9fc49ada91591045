"""Converts options back to command-line arguments."""

import dataclasses
from collections.abc import Iterator
from typing import Any, get_args

import tyro

_POSITIONAL = get_args(tyro.conf.Positional[int])[1]  # type: ignore[misc]


def arguments(options: Any) -> list[str]:
    """Command-line arguments that give these options, which may be nested; options at their default are omitted."""
    return list(_arguments(options, None, ""))


def _arguments(options: Any, default: Any, prefix: str) -> Iterator[str]:
    for field in dataclasses.fields(options):
        value, name = getattr(options, field.name), prefix + field.name.replace("_", "-")
        standard = _field_default(field) if default is None else getattr(default, field.name)
        if dataclasses.is_dataclass(value):
            yield from _arguments(value, standard, f"{name}.")
        elif _POSITIONAL in get_args(field.type):
            yield str(value)
        elif value != standard and value is not None:
            yield from _flag(prefix, field.name.replace("_", "-"), value)


def _field_default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _flag(prefix: str, name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{prefix}{name}" if value else f"--{prefix}no-{name}"]
    values = value if isinstance(value, tuple) else (value,)
    return [f"--{prefix}{name}", *map(str, values)]
