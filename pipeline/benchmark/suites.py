"""The suites: what is varied, and all else as in the base config, l64_m64."""

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
_AS_TOLD = ImpairmentConfig((float("-inf"), float("-inf")), _OFF, _OFF, _OFF, _OFF)


@dataclasses.dataclass(frozen=True)
class Suite:
    """Cells along one axis.

    name: a `SuiteName`. axis: what is varied, as a figure's axis calls it. cells: in order. files: read for them.
    """

    name: str
    axis: str
    cells: tuple[Cell, ...]
    files: tuple[Path, ...] = ()


def _values(values: Iterable[float], change: Callable[[float], SceneConfig]) -> tuple[Cell, ...]:
    """A cell a number; the estimator is told the changed config's scenario."""
    configs = {value: change(value) for value in values}
    return tuple(Cell(f"{value:g}", config, config.scenario, value) for value, config in configs.items())


def _seen_in(view: FieldOfView, **changes: Any) -> SceneConfig:
    """The base's scenes drawn from another field of view, and other changes."""
    scenario = dataclasses.replace(BASE.scenario, field_of_view=view)
    return dataclasses.replace(BASE, scenario=scenario, **changes)


def _impaired(**limits: tuple[float, float]) -> SceneConfig:
    return dataclasses.replace(BASE, impairments=dataclasses.replace(_AS_TOLD, **limits))


def _bins(edges: Iterable[float], view: Callable[[float, float], FieldOfView]) -> tuple[Cell, ...]:
    """A cell between any two edges; the estimator is told the base's whole field of view."""
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
    """Two sources at 20 dB in a small part of the field of view, at ranges that tell them apart little."""
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
    """The line of sight at its true weight: with the factor, H goes from full rank to one direction."""
    values = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0)
    base = dataclasses.replace(BASE, line_of_sight="true")
    return Suite("rician", "Rician factor", _values(values, lambda k: dataclasses.replace(base, rician_factor=(k, k))))


def _channel_rank() -> Suite:
    """H traced through a hall along its first paths, by the most bounces, and scattered: from one direction to full
    rank."""
    paths = ("1", "7", "25")  # images of the base station in a box of up to 0, 1 and 2 bounces
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
    """Two sources in the setting of modified MUSIC (arXiv 2409.14152), as far as its abstract says it."""
    scenario = load_installation(_MODIFIED_MUSIC)
    told = BASE.at(scenario)

    def cells() -> Iterator[Cell]:
        for db in (-5.0, 5.0, 15.0, 25.0):
            yield Cell(f"{db:g}", dataclasses.replace(told, snr_db=(db, db)), scenario, db, num_sources=2)

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
    """The suite of that name.

    Raises:
      ValueError: an unknown name, or an installation file that is not one.
      OSError: an installation file that is not there.
    """
    if name not in _MAKERS:
        raise ValueError(f"--suite: expected one of {', '.join(SUITES)}, got {name!r}")
    return _MAKERS[name]()
