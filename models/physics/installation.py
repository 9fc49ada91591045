"""Installation files: surface, base station and field of view in TOML (docs/installation.md)."""

import dataclasses
import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models.physics.geometry import FieldOfView, RISArray, Scenario
from models.shipped import or_shipped

_ARRAY = {
    "rows": "num_vertical",
    "columns": "num_horizontal",
    "wavelength_m": "wavelength_m",
    "spacing_m": "spacing_m",
    "positions_m": "positions_m",
    "wavefront": "wavefront",
    "amplitude": "amplitude",
    "element_exponent": "element_exponent",
}


def load_installation(path: Path) -> Scenario:
    """Reads an installation file. Values that the file omits are those of the default installation.

    Raises:
      ValueError: the file is missing, is no TOML, or has an unknown key or an impossible value. The message is one line
        that names the field.
    """
    try:
        tables = tomllib.loads(or_shipped(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--installation: expected a file, {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"--installation: expected TOML in {path}: {error}") from None
    try:
        return _scenario(tables)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def installation_differences(scenario: Scenario) -> dict[str, Any]:
    """Values that differ from the default installation, by dotted field name.

    They identify the installation: fields that later versions add do not change them.
    """
    own, default = (_flat(dataclasses.asdict(one)) for one in (scenario, Scenario()))
    return {name: value for name, value in own.items() if value != default[name]}


def installation_id(scenario: Scenario) -> str:
    """Eight hexadecimal digits, a hash of `installation_differences`; "default" if there are none."""
    differences = installation_differences(scenario)
    if not differences:
        return "default"
    return hashlib.sha256(json.dumps(differences, sort_keys=True).encode()).hexdigest()[:8]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def _scenario(tables: Mapping[str, Any]) -> Scenario:
    known: dict[str, Mapping[str, Callable[[str, Any], Any]]] = {
        "array": {
            **{key: _count for key in ("rows", "columns")},
            **{key: _number for key in ("wavelength_m", "spacing_m", "element_exponent")},
            **{key: _text for key in ("wavefront", "amplitude")},
            "positions_m": _pairs,
        },
        "base_station": {"antennas": _count},
        "field_of_view": {key: _limits for key in ("azimuth_deg", "elevation_deg", "range_m")},
        "sources": {"max_sources": _count},
    }
    _refuse_unknown("", tables, known)
    values: dict[str, dict[str, Any]] = {}
    for table, fields in known.items():
        given = tables.get(table, {})
        if not isinstance(given, Mapping):
            raise ValueError(f"{table}: expected a table [{table}], got {given!r}")
        _refuse_unknown(f"{table}.", given, fields)
        values[table] = {key: fields[key](f"{table}.{key}", value) for key, value in given.items()}
    default = Scenario()
    names = {key: f"field_of_view.{key}" for key in known["field_of_view"]}
    return Scenario(
        array=_array(values["array"]),
        field_of_view=_named(FieldOfView, values["field_of_view"], names),
        num_antennas=values["base_station"].get("antennas", default.num_antennas),
        max_sources=values["sources"].get("max_sources", default.max_sources),
    )


def _array(given: Mapping[str, Any]) -> RISArray:
    if "positions_m" in given:
        for key in ("rows", "columns", "spacing_m"):
            if key in given:
                raise ValueError(f"array.{key}: expected either a lattice or positions_m, got both")
    names = {attribute: f"array.{key}" for key, attribute in _ARRAY.items()}
    return _named(RISArray, {_ARRAY[key]: value for key, value in given.items()}, names)


def _named(kind: Callable[..., Any], values: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    """Calls `kind(**values)`. An error message uses the names of the installation file."""
    try:
        return kind(**values)
    except ValueError as error:
        message = str(error)
        for attribute, name in names.items():
            message = message.replace(f"{kind.__name__}.{attribute}:", f"{name}:")
        raise ValueError(message) from None


def _refuse_unknown(prefix: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for key in given:
        if key not in known:
            raise ValueError(f"{prefix}{key}: unknown, expected one of {', '.join(known)}")


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value!r}")
    return float(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected a word in quotes, got {value!r}")
    return value


def _pair(name: str, value: Any, what: str) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{name}: expected {what}, got {value!r}")
    return (_number(name, value[0]), _number(name, value[1]))


def _limits(name: str, value: Any) -> tuple[float, float]:
    return _pair(name, value, "[low, high]")


def _pairs(name: str, value: Any) -> tuple[tuple[float, float], ...]:
    if not isinstance(value, list):
        raise ValueError(f"{name}: expected [[y, z], ...], got {value!r}")
    return tuple(_pair(name, pair, "[[y, z], ...]") for pair in value)
