"""Options as the command line that asks for them."""

import dataclasses
from collections.abc import Iterator
from typing import Any, get_args

import tyro

_POSITIONAL = get_args(tyro.conf.Positional[int])[1]  # type: ignore[misc]


def arguments(options: Any) -> list[str]:
    """Flags of a stage's options, those left at their default left out.

    Args:
      options: a dataclass, nested ones inside, as `tyro.cli` makes it.
    """
    return list(_arguments(options, None, ""))


def _arguments(options: Any, default: Any, prefix: str) -> Iterator[str]:
    for field in dataclasses.fields(options):
        value, name = getattr(options, field.name), prefix + field.name.replace("_", "-")
        usual = _usual(field) if default is None else getattr(default, field.name)
        if dataclasses.is_dataclass(value):
            yield from _arguments(value, usual, f"{name}.")
        elif _POSITIONAL in get_args(field.type):
            yield str(value)
        elif value != usual and value is not None:
            yield from _flag(prefix, field.name.replace("_", "-"), value)


def _usual(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _flag(prefix: str, name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{prefix}{name}" if value else f"--{prefix}no-{name}"]
    values = value if isinstance(value, tuple) else (value,)
    return [f"--{prefix}{name}", *map(str, values)]
