"""The suites. Each varies one property of the scenes; everything else is as in the config l64_m64."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from models.physics.geometry import FieldOfView, Scenario
from models.physics.installation import load_installation
from models.shipped import shipped_path
from pipeline.benchmark.cells import Cell
from pipeline.benchmark.names import SUITES
from tfds_shards.codebook import Codebook
from tfds_shards.hall import Hall
from tfds_shards.impairments import ImpairmentConfig
from tfds_shards.simulator import CONFIGS, SceneConfig

BASE = CONFIGS["l64_m64"]
_FILES = shipped_path("docs/installations")
_INSTALLATIONS = tuple(sorted(_FILES.glob("*.toml")))
_MODIFIED_MUSIC = _FILES / "modified_music.toml"
_OFF = (0.0, 0.0)
_NO_IMPAIRMENTS = ImpairmentConfig((float("-inf"), float("-inf")), _OFF, _OFF, _OFF, _OFF)


@dataclasses.dataclass(frozen=True)
class Suite:
    """The cells of a benchmark in order, with the label of the varied property. files: input files."""

    name: str
    axis: str
    cells: tuple[Cell, ...]
    files: tuple[Path, ...] = ()


def _values(values: Iterable[float], change: Callable[[Any], dict[str, Any]]) -> Iterator[Cell]:
    """One cell for each value, with other settings of the base config; estimators are given its installation."""
    for value in values:
        config = dataclasses.replace(BASE, **change(value))
        yield Cell(f"{value:g}", config, config.scenario, value)


def _impaired(name: str, values: Iterable[float]) -> Iterator[Cell]:
    """One cell for each value of an impairment, without any other."""
    return _values(values, lambda v: {"impairments": dataclasses.replace(_NO_IMPAIRMENTS, **{name: (v, v)})})


def _seen_in(view: FieldOfView, **changes: Any) -> SceneConfig:
    """The base config with another field of view and further changes."""
    return dataclasses.replace(BASE, scenario=dataclasses.replace(BASE.scenario, field_of_view=view), **changes)


def _bins(name: str, edges: Iterable[float]) -> Iterator[Cell]:
    """One cell between each two edges; estimators are given the whole field of view of the base config."""
    for low, high in itertools.pairwise(edges):
        view = FieldOfView(**{name: (low, high)})  # type: ignore[arg-type]
        yield Cell(f"{low:g} to {high:g}", _seen_in(view), BASE.scenario, 0.5 * (low + high))


def _sources() -> Iterator[Cell]:
    return (Cell(str(count), BASE, BASE.scenario, count, num_sources=count) for count in range(1, 6))


def _separation() -> Iterator[Cell]:
    """Two sources at 20 dB in a small part of the field of view, at ranges that hardly help to separate them."""
    view = FieldOfView(azimuth_deg=(-15.0, 15.0), elevation_deg=(-7.5, 7.5), range_m=(3.0, 4.0))
    pairs = _seen_in(view, most_sources=2, snr_db=(20.0, 20.0))
    for limits in itertools.pairwise((0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5)):
        label, middle = f"{limits[0]:g} to {limits[1]:g}", 0.5 * sum(limits)
        yield Cell(label, pairs, BASE.scenario, middle, num_sources=2, separation_beams=limits)


def _codebook() -> Iterator[Cell]:
    for codebook, bits in itertools.product(get_args(Codebook), (1, 2, 3)):
        yield Cell(f"{codebook} {bits}", dataclasses.replace(BASE, codebook=codebook, phase_bits=bits), BASE.scenario)


def _rician() -> Iterator[Cell]:
    """Line of sight at its true weight: as the factor grows, H changes from full rank to rank one."""
    factors = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0)
    return _values(factors, lambda k: {"line_of_sight": "true", "rician_factor": (k, k)})


def _channel_rank() -> Iterator[Cell]:
    """H from ray tracing in a hall with up to 0, 1 or 2 reflections, and from scattering: rank one to full rank."""
    for bounces, paths in enumerate(("1", "7", "25")):  # images of the base station in a box
        yield Cell(paths, dataclasses.replace(BASE, hall=Hall(), channel_bounces=bounces), BASE.scenario)
    yield Cell("scattered", dataclasses.replace(BASE, rician_factor=_OFF), BASE.scenario)


def _worlds() -> Iterator[Cell]:
    return (Cell(name, config, config.scenario) for name, config in CONFIGS.items())


def _installations() -> Iterator[Cell]:
    scenarios = {"default": Scenario(), **{path.stem: load_installation(path) for path in _INSTALLATIONS}}
    return (Cell(name, BASE.at(scenario), scenario) for name, scenario in scenarios.items())


def _modified_music() -> Iterator[Cell]:
    """Two sources in the setting of modified MUSIC (arXiv 2409.14152), as far as the abstract describes it."""
    scenario = load_installation(_MODIFIED_MUSIC)
    for db in (-5.0, 5.0, 15.0, 25.0):
        yield Cell(f"{db:g}", dataclasses.replace(BASE.at(scenario), snr_db=(db, db)), scenario, db, num_sources=2)


_SNR_DB = (-10.0, -5.0, 0.0, 5.0, 10.0, 15.0, 20.0, 25.0)
_AZIMUTHS_DEG = (-60.0, -40.0, -20.0, 0.0, 20.0, 40.0, 60.0)
_ERRORS_DB = (-35.0, -30.0, -25.0, -20.0, -15.0, -10.0)
_SUITES: dict[str, tuple[str, Callable[[], Iterable[Cell]]]] = {
    "snr": ("SNR, dB", lambda: _values(_SNR_DB, lambda db: {"snr_db": (db, db)})),
    "sources": ("number of sources", _sources),
    "range": ("range, m", lambda: _bins("range_m", (0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0))),
    "azimuth": ("azimuth, degrees", lambda: _bins("azimuth_deg", _AZIMUTHS_DEG)),
    "separation": ("separation, beam widths", _separation),
    "snapshots": ("snapshots", lambda: _values((8, 16, 32, 64, 128), lambda count: {"num_snapshots": count})),
    "codebook": ("codebook and bits", _codebook),
    "channel_error": ("channel error, dB", lambda: _impaired("channel_error_db", _ERRORS_DB)),
    "dead_elements": ("share of dead elements", lambda: _impaired("dead_share", (0.0, 0.02, 0.05, 0.1, 0.2))),
    "phase_errors": ("phase errors, radians rms", lambda: _impaired("phase_error_rms_rad", (0.0, 0.1, 0.2, 0.3, 0.5))),
    "rician": ("Rician factor", _rician),
    "channel_rank": ("paths between surface and base station", _channel_rank),
    "worlds": ("set", _worlds),
    "installations": ("installation", _installations),
    "modified_music": ("SNR, dB", _modified_music),
}
"""Label of the varied property and cells of each suite."""
_SUITE_FILES = {"installations": _INSTALLATIONS, "modified_music": (_MODIFIED_MUSIC,)}


def benchmark_suite(name: str) -> Suite:
    """Creates a suite by name."""
    if name not in _SUITES:
        raise ValueError(f"--suite: expected one of {', '.join(SUITES)}, got {name!r}")
    axis, cells = _SUITES[name]
    return Suite(name, axis, tuple(cells()), _SUITE_FILES.get(name, ()))
