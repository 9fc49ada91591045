"""Values by the dotted name of their option, such as "backbone.refinement.steps": tuned, and carried whole."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from models.shipped import or_shipped

Options = TypeVar("Options")


def option(options: Any, name: str) -> Any:
    """The value of a dotted name.

    Raises:
      ValueError: there is no such option.
    """
    value = options
    for part in name.split("."):
        if not dataclasses.is_dataclass(value) or part not in {field.name for field in dataclasses.fields(value)}:
            raise ValueError(f"hyperparameters: expected names of options, got {name!r}")
        value = getattr(value, part)
    return value


def replaced(options: Options, values: Mapping[str, Any], prefix: str = "") -> Options:
    """`options`, a dataclass, with the values of dotted names in their place, all set at once.

    Args:
      options: a dataclass, nested ones inside.
      values: by dotted name.
      prefix: of the names in messages.

    Raises:
      ValueError: an unknown name, or values the options refuse.
    """
    changes: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        old = option(options, name)
        head, _, rest = name.partition(".")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            changes[head] = _like(old, value, get_type_hints(type(options))[head], prefix + name)
    changes |= {head: replaced(getattr(options, head), below, f"{prefix}{head}.") for head, below in nested.items()}
    return dataclasses.replace(options, **changes)  # type: ignore[type-var]


def _like(old: Any, value: Any, declared: Any, name: str) -> Any:
    """A value from JSON or TOML in the type of the one it replaces, or of those declared where that is None."""
    if isinstance(old, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(old, float) and isinstance(value, int):
        return float(value)
    if isinstance(value, str) and (isinstance(old, Path) or (old is None and Path in get_args(declared))):
        return or_shipped(Path(value))
    if old is None and value is not None and not isinstance(value, get_args(declared)):
        raise ValueError(f"hyperparameters: {name}: expected {declared}, got {value!r}")
    if old is not None and value is not None and not isinstance(value, type(old)):
        raise ValueError(f"hyperparameters: {name}: expected {type(old).__name__}, got {value!r}")
    return value


def read_hyperparameters(path: Path) -> dict[str, Any]:
    """The options of a best.json of `python -m pipeline.tune`, by dotted name.

    Raises:
      ValueError: no such file, or not one of these.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))["options"]
        if not isinstance(values, dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"--hyperparameters: expected a best.json of python -m pipeline.tune, got {path}") from None
    return values


def flattened(options: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of a dataclass of options by its dotted name."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            found |= flattened(value, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = value
    return found
