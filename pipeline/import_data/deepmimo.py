"""Converts a scenario folder of DeepMIMO v4 to a measurement.

A folder has params.json and, for every transmitter and every set of receivers, one file per quantity:
QUANTITY_tSSS_txIII_rSSS.npz or .mat. The file holds the array QUANTITY, [receiver, path], NaN for missing paths:
- power (dBW for 1 W sent), phase (degrees), delay (s)
- aoa_az, aoa_el, aod_az, aod_el (degrees): the direction seen from that end; the azimuth counts from +x towards +y, the
  elevation from +z
(deepmimo/utils/scenarios.py, utils/io.py, datasets/load.py and generator/geometry.py of DeepMIMO/DeepMIMO, 4.0).
The narrowband gain of a path is sqrt(power) exp(j phase) (generator/channel.py). The phases of Wireless InSite include
the phase of the delay. Those of Sionna RT do not, because they come from `Paths.a` (exporters/sionna_exporter.py).
"""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.constants import speed_of_light

from models.physics.geometry import RISArray, Scenario
from models.physics.steering import steering_vectors
from pipeline.import_data.adapter_config import DeepMIMOImport, DeepMIMOLink, DeepMIMOMap
from pipeline.import_data.readers import read_arrays
from pipeline.import_data.simulating import simulate
from serving.client.measurement import Measurement, check_measurement
from tfds_shards.sources import sources_at

_HAS_PHASE_OF_DELAY = {"Remcom Wireless Insite": True, "Sionna Ray Tracing": False}
_QUANTITIES = ("power", "phase", "delay", "aod_az", "aod_el", "aoa_az", "aoa_el")
_MOST_OFF = 0.01


@dataclasses.dataclass(frozen=True)
class ScenarioData:
    """Data that all links of a scenario share.

    frequency_hz: carrier frequency.
    has_phase_of_delay: whether the phases in the files include the phase of the delay.
    quantity: returns the array [receiver, path] for the name of a quantity and the suffix of a link; it caches the
      arrays of a link.
    """

    frequency_hz: float
    has_phase_of_delay: bool
    quantity: Callable[[str, str], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Paths:
    """Paths of one link.

    gains: narrowband gains between the centres of the two ends, [P] complex128.
    lengths_m: path lengths c tau, [P] float64.
    at_surface, at_other: unit vectors in scenario coordinates along which each end sees the path, [P, 3] float64.
    """

    gains: np.ndarray
    lengths_m: np.ndarray
    at_surface: np.ndarray
    at_other: np.ndarray


def import_deepmimo(import_map: DeepMIMOImport, scenario: Scenario, where: str) -> Measurement:
    """Reads the paths that a map names, places the arrays of the installation at their ends, and simulates snapshots.

    The installation's wavelength must equal that of the DeepMIMO scenario to 1 %; the value of the DeepMIMO scenario is
    used. `where` starts the error messages.
    """
    config = import_map.deepmimo
    try:
        data = read_scenario(config)
        array = _at_wavelength(scenario.array, data.frequency_hz, config.folder)
        channel = channel_matrix(config, data, array, scenario.num_antennas)
        responses = [
            np.stack([source_response(config, data, array, source) for source in members]) for members in config.scenes
        ]
        arrays = simulate(channel, responses, array, import_map.simulate)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return check_measurement(arrays, where)


def read_scenario(config: DeepMIMOMap) -> ScenarioData:
    """Reads params.json of a scenario folder, which must be static."""
    path = config.folder / "params.json"
    try:
        params: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        frequency_hz, tracer = float(params["rt_params"]["frequency"]), params["rt_params"].get("raytracer_name")
        moments = int(params["scene"].get("num_scenes", 1))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"deepmimo.folder: expected a scenario of DeepMIMO v4, {path}: {error!r}") from None
    if moments > 1:
        raise ValueError(
            f"deepmimo.folder: expected a static scenario, {path} has {moments} scenes: give the folder of one of them"
        )
    whole = _HAS_PHASE_OF_DELAY.get(tracer) if config.phase is None else config.phase == "whole"
    if whole is None:
        known = " or ".join(_HAS_PHASE_OF_DELAY)
        raise ValueError(f'deepmimo.phase: expected "whole" or "without_delay" for paths not of {known}, got none')
    read = functools.partial(_quantity, config.folder)
    return ScenarioData(frequency_hz, whole, functools.lru_cache(maxsize=len(_QUANTITIES))(read))


def _at_wavelength(array: RISArray, frequency_hz: float, folder: Path) -> RISArray:
    wavelength_m = speed_of_light / frequency_hz
    if abs(wavelength_m / array.wavelength_m - 1.0) > _MOST_OFF:
        raise ValueError(
            f"--installation: expected array.wavelength_m = {wavelength_m:.6g} as {folder}, got {array.wavelength_m:g}"
        )
    return dataclasses.replace(array, wavelength_m=wavelength_m)


def channel_matrix(config: DeepMIMOMap, data: ScenarioData, array: RISArray, num_antennas: int) -> np.ndarray:
    """Channel H, [M, N] complex128: the sum over paths of gain times the responses of both arrays. Waves are plane
    at the base station."""
    if config.station_rows < 1 or num_antennas % config.station_rows:
        raise ValueError(
            f"deepmimo.station_rows: expected a divisor of {num_antennas} antennas, got {config.station_rows}"
        )
    paths = _paths("channel", config.channel, config.channel.station, data)
    antennas = RISArray(num_antennas // config.station_rows, config.station_rows, array.wavelength_m)
    directions = paths.at_other @ facing(config.station_facing_deg)
    at_station = _responses(antennas, directions, np.full(len(directions), np.inf))
    return np.einsum("pm,pn->mn", at_station, _at_surface(config, paths, array))


def source_response(config: DeepMIMOMap, data: ScenarioData, array: RISArray, source: int) -> np.ndarray:
    """Field of a source at the elements, [N] complex128."""
    return _at_surface(config, _paths("sources", config.sources, source, data), array).sum(axis=0)


def facing(azimuth_elevation_deg: Sequence[float]) -> np.ndarray:
    """Frame of an array, [3, 3] float64, with the columns boresight, horizontal to its left, and up."""
    azimuth, elevation = np.deg2rad(azimuth_elevation_deg)
    boresight = [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    left = [-math.sin(azimuth), math.cos(azimuth), 0.0]
    return np.stack([boresight, left, np.cross(boresight, left)], axis=-1)


def _at_surface(config: DeepMIMOMap, paths: Paths, array: RISArray) -> np.ndarray:
    """Field of each path at the elements, [P, N]; zero for paths from behind the surface."""
    directions = paths.at_surface @ facing(config.ris_facing_deg)
    lengths_m = paths.lengths_m if config.wavefront == "spherical" else np.full(len(directions), np.inf)
    in_front = directions[:, 0] > 0
    return (paths.gains * in_front)[:, None] * _responses(array, directions, lengths_m)


def _responses(array: RISArray, directions: np.ndarray, lengths_m: np.ndarray) -> np.ndarray:
    """Response of an array to waves from points at the given distances, relative to its centre: [P, elements]."""
    seen = sources_at(directions)
    vectors = steering_vectors(seen.azimuth, seen.elevation, 1.0 / lengths_m, array)
    return math.sqrt(array.num_elements) * np.asarray(vectors)


def _paths(name: str, link: DeepMIMOLink, other: int, data: ScenarioData) -> Paths:
    """Reads the paths between the surface and a point of the other end."""
    transmitter, receiver = (link.surface, other) if link.ris == "tx" else (other, link.surface)
    suffix = f"_t{link.tx_set:03}_tx{transmitter:03}_r{link.rx_set:03}"

    def row(quantity: str) -> np.ndarray:
        values = data.quantity(quantity, suffix)
        if not 0 <= receiver < len(values):
            raise ValueError(f"deepmimo.{name}: expected a receiver 0 to {len(values) - 1}, got {receiver}")
        return values[receiver].astype(np.float64)

    power_dbw, phase_deg, delay_s, *angles_deg = (row(quantity) for quantity in _QUANTITIES)
    departing, arriving = _directions(*angles_deg[:2]), _directions(*angles_deg[2:])
    phase = np.deg2rad(phase_deg)
    if not data.has_phase_of_delay:
        phase = phase - 2.0 * math.pi * data.frequency_hz * delay_s
    there = np.isfinite(power_dbw)
    ends = (departing, arriving) if link.ris == "tx" else (arriving, departing)
    found = Paths(10.0 ** (power_dbw / 20.0) * np.exp(1j * phase), speed_of_light * delay_s, *ends)
    kept = {field.name: getattr(found, field.name)[there] for field in dataclasses.fields(found)}
    if not all(np.isfinite(values).all() for values in kept.values()):
        raise ValueError(f"deepmimo.{name}: expected phase, delay and angles of every path with a power, got NaN")
    return Paths(**kept)


def _quantity(folder: Path, quantity: str, suffix: str) -> np.ndarray:
    """Reads a quantity of a link, [receiver, path]."""
    for ending in (".mat", ".npz"):
        path = folder / f"{quantity}{suffix}{ending}"
        if path.exists():
            values = read_arrays(path, [quantity])[quantity]
            if values.ndim != 2:
                raise ValueError(f"{path}: {quantity}: expected [receiver, path], got shape {list(values.shape)}")
            return values
    there = sorted(path.stem.removeprefix("power") for path in folder.glob("power_t*_tx*_r*"))
    raise ValueError(
        f"{folder}: expected {quantity}{suffix}.npz or .mat, found none; links are {', '.join(there) or 'none'}"
    )


def _directions(azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
    """Unit vectors, [P, 3], from azimuth and from elevation, which counts from +z."""
    azimuth, polar = np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg)
    parts = [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)]
    return np.stack(parts, axis=-1)
