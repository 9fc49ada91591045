"""Hyperparameters: option values by dotted name, such as "backbone.refinement.steps"."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import pydantic
from typing_extensions import TypedDict

from models.checked import from_json, read_json
from models.shipped import or_shipped

Options = TypeVar("Options")


def option(options: Any, name: str) -> Any:
    """Value of an option by its dotted name."""
    value = options
    for part in name.split("."):
        if not dataclasses.is_dataclass(value) or part not in {field.name for field in dataclasses.fields(value)}:
            raise ValueError(f"hyperparameters: expected the name of an option, got {name!r}")
        value = getattr(value, part)
    return value


def replaced(options: Options, values: Mapping[str, Any], prefix: str = "") -> Options:
    """Copy of `options` with other values by dotted name, all set at once. `prefix` precedes the names in messages."""
    changes: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        option(options, name)
        head, _, rest = name.partition(".")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            hint = get_type_hints(type(options), include_extras=True)[head]
            new = from_json(value, hint, f"hyperparameters: {prefix}{name}: ")
            changes[head] = or_shipped(new) if isinstance(new, Path) else new
    changes |= {head: replaced(getattr(options, head), below, f"{prefix}{head}.") for head, below in nested.items()}
    return dataclasses.replace(options, **changes)  # type: ignore[type-var]


class _Best(TypedDict):
    __pydantic_config__ = pydantic.ConfigDict(strict=True)  # type: ignore[misc]  # other keys are allowed
    options: dict[str, Any]


def read_hyperparameters(path: Path) -> dict[str, Any]:
    """Reads the options of a best.json of `ris-mvdr tune`, by dotted name."""
    try:
        best: _Best = read_json(path, _Best)
    except ValueError as error:
        raise ValueError(f"--hyperparameters: expected a best.json of ris-mvdr tune, got {error}") from None
    return best["options"]


def tuned(options: Any) -> Any:
    """Options with the values of their `hyperparameters` file; None if there is no file."""
    return None if options.hyperparameters is None else replaced(options, read_hyperparameters(options.hyperparameters))


def flattened(options: Any, prefix: str = "") -> dict[str, Any]:
    """All nested values of an options dataclass by dotted name."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            found |= flattened(value, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = value
    return found
