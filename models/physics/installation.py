"""Installation files: surface, base station and field of view in TOML (docs/installation.md)."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic
from typing_extensions import TypedDict

from models.checked import CHECKS, AtLeast1, Positive, read_toml
from models.physics.geometry import Amplitude, ElementExponent, FieldOfView, Positions, RISArray, Scenario, Wavefront
from models.shipped import or_shipped


class _Array(TypedDict, total=False):
    rows: AtLeast1
    columns: AtLeast1
    wavelength_m: Positive
    spacing_m: Positive
    positions_m: Positions
    wavefront: Wavefront
    amplitude: Amplitude
    element_exponent: ElementExponent


class _BaseStation(TypedDict, total=False):
    antennas: AtLeast1


class _Sources(TypedDict, total=False):
    max_sources: AtLeast1


class _File(TypedDict, total=False):
    __pydantic_config__ = CHECKS  # type: ignore[misc]
    array: _Array
    base_station: _BaseStation
    field_of_view: FieldOfView
    sources: _Sources


def load_installation(path: Path) -> Scenario:
    """Reads an installation file. Values that the file omits are those of the default installation.

    Raises:
      ValueError: the file is missing, is no TOML, or has an unknown key or an impossible value. The message is one line
        that names the field.
    """
    tables: _File = read_toml(or_shipped(path), _File)
    array: dict[str, Any] = {**tables.get("array", {})}
    if "positions_m" in array:
        for key in ("rows", "columns", "spacing_m"):
            if key in array:
                raise ValueError(f"{path}: array.{key}: expected either a lattice or positions_m, got both")
    names = {"rows": "num_vertical", "columns": "num_horizontal"}
    return Scenario(
        array=RISArray(**{names.get(key, key): value for key, value in array.items()}),
        field_of_view=tables.get("field_of_view", FieldOfView()),
        num_antennas=tables.get("base_station", {}).get("antennas", Scenario().num_antennas),
        max_sources=tables.get("sources", {}).get("max_sources", Scenario().max_sources),
    )


def _readable(path: Path) -> Path:
    found = or_shipped(path)
    load_installation(found)
    return found


InstallationFile = Annotated[Path, pydantic.AfterValidator(_readable)]
"""A path to an installation file, read at once: a typing error in it is refused before anything heavy is imported."""


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
