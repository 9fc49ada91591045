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


def _values(values: Iterable[float], change: Callable[[float], SceneConfig]) -> tuple[Cell, ...]:
    """One cell for each value; estimators are given the installation of the changed config."""
    configs = {value: change(value) for value in values}
    return tuple(Cell(f"{value:g}", config, config.scenario, value) for value, config in configs.items())


def _seen_in(view: FieldOfView, **changes: Any) -> SceneConfig:
    """The base config with another field of view and further changes."""
    scenario = dataclasses.replace(BASE.scenario, field_of_view=view)
    return dataclasses.replace(BASE, scenario=scenario, **changes)


def _impaired(**limits: tuple[float, float]) -> SceneConfig:
    """The base config with only the given impairments."""
    return dataclasses.replace(BASE, impairments=dataclasses.replace(_NO_IMPAIRMENTS, **limits))


def _bins(edges: Iterable[float], view: Callable[[float, float], FieldOfView]) -> tuple[Cell, ...]:
    """One cell between each two edges; estimators are given the whole field of view of the base config."""
    return tuple(
        Cell(f"{low:g} to {high:g}", _seen_in(view(low, high)), BASE.scenario, 0.5 * (low + high))
        for low, high in itertools.pairwise(edges)
    )


def _snr() -> Suite:
    values = (-10.0, -5.0, 0.0, 5.0, 10.0, 15.0, 20.0, 25.0)
    return Suite("snr", "SNR, dB", _values(values, lambda db: dataclasses.replace(BASE, snr_db=(db, db))))


def _sources() -> Suite:
    cells = (Cell(str(count), BASE, BASE.scenario, count, num_sources=count) for count in range(1, 6))
    return Suite("sources", "number of sources", tuple(cells))


def _range() -> Suite:
    edges = (0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0)
    return Suite("range", "range, m", _bins(edges, lambda low, high: FieldOfView(range_m=(low, high))))


def _azimuth() -> Suite:
    edges = (-60.0, -40.0, -20.0, 0.0, 20.0, 40.0, 60.0)
    return Suite("azimuth", "azimuth, degrees", _bins(edges, lambda low, high: FieldOfView(azimuth_deg=(low, high))))


def _separation() -> Suite:
    """Two sources at 20 dB in a small part of the field of view, at ranges that hardly help to separate them."""
    view = FieldOfView(azimuth_deg=(-15.0, 15.0), elevation_deg=(-7.5, 7.5), range_m=(3.0, 4.0))
    pairs = _seen_in(view, most_sources=2, snr_db=(20.0, 20.0))
    edges = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5)

    def cells() -> Iterator[Cell]:
        for limits in itertools.pairwise(edges):
            label, middle = f"{limits[0]:g} to {limits[1]:g}", 0.5 * sum(limits)
            yield Cell(label, pairs, BASE.scenario, middle, num_sources=2, separation_beams=limits)

    return Suite("separation", "separation, beam widths", tuple(cells()))


def _snapshots() -> Suite:
    values = (8, 16, 32, 64, 128)
    cells = _values(values, lambda count: dataclasses.replace(BASE, num_snapshots=int(count)))
    return Suite("snapshots", "snapshots", cells)


def _codebook() -> Suite:
    configs = {
        f"{codebook} {bits}": dataclasses.replace(BASE, codebook=codebook, phase_bits=bits)
        for codebook in get_args(Codebook)
        for bits in (1, 2, 3)
    }
    cells = tuple(Cell(label, config, BASE.scenario) for label, config in configs.items())
    return Suite("codebook", "codebook and bits", cells)


def _channel_error() -> Suite:
    values = (-35.0, -30.0, -25.0, -20.0, -15.0, -10.0)
    cells = _values(values, lambda db: _impaired(channel_error_db=(db, db)))
    return Suite("channel_error", "channel error, dB", cells)


def _dead_elements() -> Suite:
    values = (0.0, 0.02, 0.05, 0.1, 0.2)
    return Suite("dead_elements", "share of dead elements", _values(values, lambda s: _impaired(dead_share=(s, s))))


def _phase_errors() -> Suite:
    values = (0.0, 0.1, 0.2, 0.3, 0.5)
    cells = _values(values, lambda rms: _impaired(phase_error_rms_rad=(rms, rms)))
    return Suite("phase_errors", "phase errors, radians rms", cells)


def _rician() -> Suite:
    """Line of sight at its true weight: as the factor grows, H changes from full rank to rank one."""
    values = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0)
    base = dataclasses.replace(BASE, line_of_sight="true")
    return Suite("rician", "Rician factor", _values(values, lambda k: dataclasses.replace(base, rician_factor=(k, k))))


def _channel_rank() -> Suite:
    """H from ray tracing in a hall with up to 0, 1 or 2 reflections, and from scattering: rank one to full rank."""
    paths = ("1", "7", "25")  # images of the base station in a box with up to 0, 1 and 2 reflections
    configs = {
        label: dataclasses.replace(BASE, hall=Hall(), channel_bounces=bounces) for bounces, label in enumerate(paths)
    }
    configs["scattered"] = dataclasses.replace(BASE, rician_factor=_OFF)
    cells = tuple(Cell(label, config, BASE.scenario) for label, config in configs.items())
    return Suite("channel_rank", "paths between surface and base station", cells)


def _worlds() -> Suite:
    return Suite("worlds", "set", tuple(Cell(name, config, config.scenario) for name, config in CONFIGS.items()))


def _installations() -> Suite:
    scenarios = {"default": Scenario(), **{path.stem: load_installation(path) for path in _INSTALLATIONS}}
    cells = tuple(Cell(name, BASE.at(scenario), scenario) for name, scenario in scenarios.items())
    return Suite("installations", "installation", cells, _INSTALLATIONS)


def _modified_music() -> Suite:
    """Two sources in the setting of modified MUSIC (arXiv 2409.14152), as far as the abstract describes it."""
    scenario = load_installation(_MODIFIED_MUSIC)
    base = BASE.at(scenario)

    def cells() -> Iterator[Cell]:
        for db in (-5.0, 5.0, 15.0, 25.0):
            yield Cell(f"{db:g}", dataclasses.replace(base, snr_db=(db, db)), scenario, db, num_sources=2)

    return Suite("modified_music", "SNR, dB", tuple(cells()), (_MODIFIED_MUSIC,))


_MAKERS: dict[str, Callable[[], Suite]] = {
    "snr": _snr,
    "sources": _sources,
    "range": _range,
    "azimuth": _azimuth,
    "separation": _separation,
    "snapshots": _snapshots,
    "codebook": _codebook,
    "channel_error": _channel_error,
    "dead_elements": _dead_elements,
    "phase_errors": _phase_errors,
    "rician": _rician,
    "channel_rank": _channel_rank,
    "worlds": _worlds,
    "installations": _installations,
    "modified_music": _modified_music,
}


def benchmark_suite(name: str) -> Suite:
    """Creates a suite by name."""
    if name not in _MAKERS:
        raise ValueError(f"--suite: expected one of {', '.join(SUITES)}, got {name!r}")
    return _MAKERS[name]()
