"""Converts the path coefficients of Sionna RT to a measurement.

In sionna-rt 1.x and 2.x (sionna/rt/path_solvers/paths.py and sionna/rt/antenna_array.py of NVlabs/sionna-rt):
- `Paths.cir(..., out_type="numpy")` returns complex [num_rx, num_rx_ant, num_tx, num_tx_ant, num_paths,
  num_time_steps]. The coefficients include the carrier phase exp(-2j pi f tau).
- `Paths.a` has no axis of time steps and no carrier phase. It is a pair of real and imaginary parts.
- tau has the shape [num_rx, num_rx_ant, num_tx, num_tx_ant, num_paths] with synthetic_array=False.
- `PlanarArray` numbers its antennas column by column from the top, index i + j num_rows.
- A missing path has the coefficient 0.
The sum of the coefficients over the paths is the narrowband channel.
"""

import math
from pathlib import Path

import numpy as np

from models.physics.geometry import RISArray, Scenario
from pipeline.import_data.adapter_config import SionnaImport, SionnaLink, SionnaMap
from pipeline.import_data.readers import read_arrays
from pipeline.import_data.simulating import simulate
from serving.client.measurement import Measurement, check_measurement

_WITHOUT_TIME = ("num_rx", "num_rx_ant", "num_tx", "num_tx_ant", "num_paths")


def import_sionna(import_map: SionnaImport, scenario: Scenario, where: str) -> Measurement:
    """Reads the coefficients that a map names and simulates snapshots of its scenes. `where` starts the error
    messages."""
    try:
        channel = read_channel(import_map.sionna, scenario)
        sources = read_sources(import_map.sionna, scenario.array)
        scenes = import_map.sionna.scenes or (tuple(range(len(sources))),)
        for members in scenes:
            if max(members) >= len(sources):
                raise ValueError(f"sionna.scenes: expected sources 0 to {len(sources) - 1}, got {max(members)}")
        arrays = simulate(channel, [sources[list(members)] for members in scenes], scenario.array, import_map.simulate)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return check_measurement(arrays, where)


def read_channel(config: SionnaMap, scenario: Scenario) -> np.ndarray:
    """Reads the channel H, [M, N] complex128; ValueError if it does not fit the installation."""
    link = config.channel
    found = _from_others_to_elements("channel", link, config, scenario.array)
    if not 0 <= link.station < len(found):
        raise ValueError(f"sionna.channel.station: expected 0 to {len(found) - 1}, got {link.station}")
    if found.shape[1] != scenario.num_antennas:
        raise ValueError(
            f"sionna.channel: {link.file}: expected M = {scenario.num_antennas} antennas as the installation, "
            f"got {found.shape[1]}"
        )
    return found[link.station]


def read_sources(config: SionnaMap, array: RISArray) -> np.ndarray:
    """Reads the field of each source at the elements, [K, N] complex128; ValueError if it does not fit the surface."""
    found = _from_others_to_elements("sources", config.sources, config, array)
    if found.shape[1] != 1:
        raise ValueError(
            f"sionna.sources: {config.sources.file}: expected sources of one antenna, got {found.shape[1]} each"
        )
    return found[:, 0]


def _from_others_to_elements(name: str, link: SionnaLink, config: SionnaMap, array: RISArray) -> np.ndarray:
    """Narrowband gains between the antennas of the other end and the elements, [devices, antennas, N]."""
    try:
        gains = _coefficients(link, config).sum(axis=-1)
        gains = gains.transpose(2, 3, 0, 1) if link.ris == "rx" else gains
        return _elements(gains, link, config, array)
    except ValueError as error:
        raise ValueError(f"sionna.{name}: {error}") from None


def _coefficients(link: SionnaLink, config: SionnaMap) -> np.ndarray:
    """Baseband coefficients, [num_rx, num_rx_ant, num_tx, num_tx_ant, num_paths] complex."""
    names = [name for name in (link.a, link.real, link.imag) if name is not None]
    arrays = read_arrays(link.file, names + ([link.tau] if link.tau else []))
    values = arrays[names[0]] if link.a else arrays[names[0]] + 1j * arrays[names[1]]
    if not np.iscomplexobj(values) and values.shape[:1] == (2,):
        values = values[0] + 1j * values[1]
    if not np.iscomplexobj(values):
        raise ValueError(f"{link.file}: {link.a}: expected complex numbers or two parts, got dtype {values.dtype}")
    if values.ndim == len(_WITHOUT_TIME) + 1 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != len(_WITHOUT_TIME):
        raise ValueError(
            f"{link.file}: {names[0]}: expected axes {', '.join(_WITHOUT_TIME)} and at most one time step, "
            f"got shape {list(values.shape)}"
        )
    if config.coefficients == "passband":
        assert config.frequency_hz is not None and link.tau is not None
        values = values * np.exp(-2j * math.pi * config.frequency_hz * _delays(link.file, link.tau, arrays, values))
    if not np.isfinite(values).all():
        raise ValueError(f"{link.file}: {names[0]}: expected finite numbers, got NaN or infinity")
    return values


def _delays(path: Path, name: str, arrays: dict[str, np.ndarray], values: np.ndarray) -> np.ndarray:
    """tau in seconds, float64, zero for missing paths."""
    tau = arrays[name].astype(np.float64)
    if tau.shape != values.shape:
        raise ValueError(
            f"{path}: {name}: expected the coefficients' shape {list(values.shape)}, as with synthetic_array=False, "
            f"got {list(tau.shape)}"
        )
    return np.where(values != 0, tau, 0.0)


def _elements(gains: np.ndarray, link: SionnaLink, config: SionnaMap, array: RISArray) -> np.ndarray:
    """Selects the elements: [devices, antennas, surface devices, surface antennas] -> [devices, antennas, N].

    The surface is either one device with N antennas, or N devices with one antenna each, in the order of the elements.
    """
    devices, antennas = gains.shape[2:]
    if antennas == array.num_elements:
        if not 0 <= link.surface < devices:
            raise ValueError(f"surface: expected 0 to {devices - 1}, got {link.surface}")
        found = gains[:, :, link.surface]
        return found if config.element_order == "row" else found[..., planar_array_order(array)]
    if (devices, antennas) == (array.num_elements, 1):
        return gains[:, :, :, 0]
    raise ValueError(
        f"{link.file}: expected N = {array.num_elements} antennas of the surface, or as many devices with one, "
        f"got {devices} devices with {antennas}"
    )


def planar_array_order(array: RISArray) -> np.ndarray:
    """Index in Sionna's PlanarArray of each element n = iv N_H + ih, where rows iv count from the bottom: [N] int."""
    if array.positions_m is not None:
        raise ValueError('element_order: expected "row" with positions_m, got "sionna"')
    vertical, horizontal = np.divmod(np.arange(array.num_elements), array.num_horizontal)
    return array.num_vertical - 1 - vertical + horizontal * array.num_vertical
