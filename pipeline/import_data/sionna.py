"""Sionna RT's coefficients into a measurement.

`Paths.cir(..., out_type="numpy")` of sionna-rt 1.x and 2.x gives complex [num_rx, num_rx_ant, num_tx, num_tx_ant,
num_paths, num_time_steps], the carrier's exp(-2j pi f tau) included; `Paths.a` the same without time steps and without
that phase, as a pair of real and imaginary parts; tau [num_rx, num_rx_ant, num_tx, num_tx_ant, num_paths] where
synthetic_array=False; `PlanarArray` numbers its antennas column by column from the top, index i + j num_rows
(sionna/rt/path_solvers/paths.py and sionna/rt/antenna_array.py of NVlabs/sionna-rt). A path that is none has
coefficient 0. Summed over the paths, a coefficient is the narrowband channel.
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


def import_sionna(told: SionnaImport, scenario: Scenario, where: str) -> Measurement:
    """Reads the coefficients a map names and draws snapshots of their scenes.

    Args:
      told: the map.
      scenario: the installation.
      where: named in errors.

    Raises:
      ValueError: one line that names the table, what was expected and what came.
    """
    try:
        channel = read_channel(told.sionna, scenario)
        sources = read_sources(told.sionna, scenario.array)
        scenes = told.sionna.scenes or (tuple(range(len(sources))),)
        for members in scenes:
            if max(members) >= len(sources):
                raise ValueError(f"sionna.scenes: expected sources 0 to {len(sources) - 1}, got {max(members)}")
        arrays = simulate(channel, [sources[list(members)] for members in scenes], scenario.array, told.simulate)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return check_measurement(arrays, where)


def read_channel(told: SionnaMap, scenario: Scenario) -> np.ndarray:
    """H, [M, N] complex128."""
    link = told.channel
    found = _from_others_to_elements("channel", link, told, scenario.array)
    if not 0 <= link.station < len(found):
        raise ValueError(f"sionna.channel.station: expected 0 to {len(found) - 1}, got {link.station}")
    if found.shape[1] != scenario.num_antennas:
        raise ValueError(
            f"sionna.channel: {link.file}: expected M = {scenario.num_antennas} antennas as the installation, "
            f"got {found.shape[1]}"
        )
    return found[link.station]


def read_sources(told: SionnaMap, array: RISArray) -> np.ndarray:
    """What each source brings to the elements, [K, N] complex128."""
    found = _from_others_to_elements("sources", told.sources, told, array)
    if found.shape[1] != 1:
        raise ValueError(
            f"sionna.sources: {told.sources.file}: expected sources of one antenna, got {found.shape[1]} each"
        )
    return found[:, 0]


def _from_others_to_elements(name: str, link: SionnaLink, told: SionnaMap, array: RISArray) -> np.ndarray:
    """[devices, antennas, N] of the other end."""
    try:
        gains = _coefficients(link, told).sum(axis=-1)
        gains = gains.transpose(2, 3, 0, 1) if link.ris == "rx" else gains
        return _elements(gains, link, told, array)
    except ValueError as error:
        raise ValueError(f"sionna.{name}: {error}") from None


def _coefficients(link: SionnaLink, told: SionnaMap) -> np.ndarray:
    """Baseband, [num_rx, num_rx_ant, num_tx, num_tx_ant, num_paths]."""
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
    if told.coefficients == "passband":
        assert told.frequency_hz is not None and link.tau is not None
        values = values * np.exp(-2j * math.pi * told.frequency_hz * _delays(link.file, link.tau, arrays, values))
    if not np.isfinite(values).all():
        raise ValueError(f"{link.file}: {names[0]}: expected finite numbers, got NaN or infinity")
    return values


def _delays(path: Path, name: str, arrays: dict[str, np.ndarray], values: np.ndarray) -> np.ndarray:
    """tau in double precision, zero where there is no path."""
    tau = arrays[name].astype(np.float64)
    if tau.shape != values.shape:
        raise ValueError(
            f"{path}: {name}: expected the coefficients' shape {list(values.shape)}, as with synthetic_array=False, "
            f"got {list(tau.shape)}"
        )
    return np.where(values != 0, tau, 0.0)


def _elements(gains: np.ndarray, link: SionnaLink, told: SionnaMap, array: RISArray) -> np.ndarray:
    """[devices, antennas, N] of [devices, antennas, surface devices, surface antennas].

    The surface is one device with N antennas, or N devices with one, which are taken in the order in which they come.
    """
    devices, antennas = gains.shape[2:]
    if antennas == array.num_elements:
        if not 0 <= link.surface < devices:
            raise ValueError(f"surface: expected 0 to {devices - 1}, got {link.surface}")
        found = gains[:, :, link.surface]
        return found if told.element_order == "row" else found[..., planar_array_order(array)]
    if (devices, antennas) == (array.num_elements, 1):
        return gains[:, :, :, 0]
    raise ValueError(
        f"{link.file}: expected N = {array.num_elements} antennas of the surface, or as many devices with one, "
        f"got {devices} devices with {antennas}"
    )


def planar_array_order(array: RISArray) -> np.ndarray:
    """The number in Sionna's PlanarArray of each element n = iv N_H + ih: column ih from the top, iv from the bottom.

    Raises:
      ValueError: the elements lie on no lattice.
    """
    if array.positions_m is not None:
        raise ValueError('element_order: expected "row" with positions_m, got "sionna"')
    vertical, horizontal = np.divmod(np.arange(array.num_elements), array.num_horizontal)
    return array.num_vertical - 1 - vertical + horizontal * array.num_vertical
