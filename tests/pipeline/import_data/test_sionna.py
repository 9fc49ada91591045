"""Coefficients in the format of Sionna RT, computed from distances: a direct path and one off a wall."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from models.physics.geometry import RISArray, Scenario
from models.physics.steering import steering_vectors
from pipeline.import_data.adapter_config import SionnaImport
from pipeline.import_data.map_file import read_map
from pipeline.import_data.sionna import planar_array_order, read_channel, read_sources
from serving.client.measurement import Measurement
from tests.pipeline.import_data.written import imported, write_map

C = 299_792_458.0
FREQUENCY_HZ = 1e9
K0 = 2 * np.pi * FREQUENCY_HZ / C
ARRAY = RISArray(4, 3, wavelength_m=C / FREQUENCY_HZ, amplitude="spherical")
SCENARIO = Scenario(array=ARRAY, num_antennas=5)
STATION_M = np.array([6.0, 3.0, 1.0])
SOURCES_M = np.array([[2.0, 1.0, -0.5], [3.0, -1.0, 0.4], [1.0, 0.2, 0.1]])
WALL_Y_M, REFLECTION = -4.0, -0.5


def planar_array_m(rows: int, columns: int, spacing_m: float) -> np.ndarray:
    """Antenna positions in Sionna's order: column by column, each from the top."""
    places = [
        (0.0, column * spacing_m - (columns - 1) * spacing_m / 2, -row * spacing_m + (rows - 1) * spacing_m / 2)
        for column in range(columns)
        for row in range(rows)
    ]
    return np.array(places)


SURFACE_M = planar_array_m(3, 4, ARRAY.spacing_m)
ANTENNAS_M = STATION_M + planar_array_m(5, 1, 0.15)


def coefficients(receivers_m: np.ndarray, transmitters_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Passband a and tau, [num_rx, num_rx_ant, num_tx, num_tx_ant, 3 paths], for positions [devices, antennas, 3].

    The paths are the direct one, one off the wall, and a missing one (a = 0, tau = -1).
    """
    seen_m = [transmitters_m, transmitters_m * [1, -1, 1] + [0, 2 * WALL_Y_M, 0]]
    a, tau = [], []
    for gain, places_m in zip((1.0, REFLECTION), seen_m, strict=True):
        lengths_m = np.linalg.norm(receivers_m[:, :, None, None] - places_m, axis=-1)
        a.append(gain / (2 * K0 * lengths_m))
        tau.append(lengths_m / C)
    none = np.ones_like(tau[0])
    return np.stack([*a, 0 * none], axis=-1).astype(np.complex64), np.stack([*tau, -none], axis=-1)


def baseband(a: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """Baseband coefficients as from Paths.cir with one time step."""
    return (a * np.exp(-2j * np.pi * FREQUENCY_HZ * tau))[..., None].astype(np.complex64)


TO_STATION = coefficients(ANTENNAS_M[None], SURFACE_M[None])
TO_SURFACE = coefficients(SURFACE_M[None], SOURCES_M[:, None])
SITE = f"[array]\nrows = 3\ncolumns = 4\nwavelength_m = {ARRAY.wavelength_m!r}\n[base_station]\nantennas = 5\n"


def tables(**instead: Any) -> dict[str, Any]:
    content = {
        "channel": {"file": "h.npz", "a": "a", "ris": "tx"},
        "sources": {"file": "s.npz", "a": "a", "ris": "rx"},
        **instead,
    }
    return {"sionna": {name: table for name, table in content.items() if table is not None}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Writes baseband coefficients of both links, and an installation file."""
    np.savez(tmp_path / "h.npz", a=baseband(*TO_STATION), tau=TO_STATION[1])
    np.savez(tmp_path / "s.npz", a=baseband(*TO_SURFACE), tau=TO_SURFACE[1])
    (tmp_path / "site.toml").write_text(SITE)
    return tmp_path


def measured(folder: Path, import_map: dict[str, Any]) -> Measurement:
    return imported(folder, import_map, folder / "site.toml")


def read(folder: Path, import_map: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Channel [M, N] and responses of the sources [K, N]."""
    found = read_map(write_map(folder, import_map))
    assert isinstance(found, SionnaImport)
    return read_channel(found.sionna, SCENARIO), read_sources(found.sionna, ARRAY)


def waves(places_m: np.ndarray) -> np.ndarray:
    """Waves from positions [K, 3] and their images at the elements, in the project's order: [K, N]."""
    elements_m = np.pad(ARRAY.element_positions_m(), ((0, 0), (1, 0)))
    total = np.zeros((len(places_m), len(elements_m)), complex)
    for gain, seen_m in ((1.0, places_m), (REFLECTION, places_m * [1, -1, 1] + [0, 2 * WALL_Y_M, 0])):
        lengths_m = np.linalg.norm(seen_m[:, None] - elements_m, axis=-1)
        total += gain / (2 * K0 * lengths_m) * np.exp(-1j * K0 * lengths_m)
    return total


def test_paths_are_summed_at_the_carrier_in_the_order_of_the_installation(folder: Path) -> None:
    channel, sources = read(folder, tables())
    np.testing.assert_allclose(sources, waves(SOURCES_M), rtol=1e-4)
    np.testing.assert_allclose(channel, waves(ANTENNAS_M), rtol=1e-4)


def test_a_direct_path_is_the_steering_vector(folder: Path) -> None:
    """Equal up to a factor, in the near field, with spherical amplitudes."""
    np.savez(folder / "s.npz", a=baseband(*TO_SURFACE)[..., :1, :])
    _, sources = read(folder, tables())
    x, y, z = SOURCES_M.T
    ranges_m = np.linalg.norm(SOURCES_M, axis=-1)
    vectors = steering_vectors(np.arctan2(y, x), np.arcsin(z / ranges_m), 1 / ranges_m, ARRAY).numpy()
    ratio = sources / vectors
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-4)


def two_parts(a: np.ndarray) -> np.ndarray:
    return np.stack([a.real, a.imag])


@pytest.mark.parametrize("written", ["pair", "parts", "hdf5"])
def test_passband_coefficients(folder: Path, written: str) -> None:
    """Paths.a has no carrier phase and is a pair of real and imaginary parts."""
    expected = read(folder, tables())
    for name, (a, tau) in (("h", TO_STATION), ("s", TO_SURFACE)):
        if written == "hdf5":
            with h5py.File(folder / f"{name}.h5", "w") as file:
                file["paths/a"], file["paths/tau"] = a, tau
        else:
            np.savez(folder / f"{name}.npz", a=two_parts(a), re=a.real, im=a.imag, tau=tau)
    link = {"pair": {"a": "a"}, "parts": {"real": "re", "imag": "im"}, "hdf5": {"a": "paths/a"}}[written]
    group, ending = ("paths/", "h5") if written == "hdf5" else ("", "npz")
    import_map = tables(
        coefficients="passband",
        frequency_hz=FREQUENCY_HZ,
        channel={"file": f"h.{ending}", "ris": "tx", "tau": f"{group}tau", **link},
        sources={"file": f"s.{ending}", "ris": "rx", "tau": f"{group}tau", **link},
    )
    for found, wanted in zip(read(folder, import_map), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_either_end_may_be_the_surface(folder: Path) -> None:
    """By reciprocity; further devices that are not part of the scene are ignored."""
    expected = read(folder, tables())
    elsewhere_m = SURFACE_M + np.array([0.0, 9.0, 0.0])
    back = coefficients(np.stack([elsewhere_m, SURFACE_M]), np.stack([ANTENNAS_M + 1.0, ANTENNAS_M]))
    np.savez(folder / "h.npz", a=baseband(*back))
    np.savez(folder / "s.npz", a=baseband(*coefficients(SOURCES_M[:, None], SURFACE_M[None])))
    import_map = tables(
        channel={"file": "h.npz", "a": "a", "ris": "rx", "surface": 1, "station": 1},
        sources={"file": "s.npz", "a": "a", "ris": "tx"},
    )
    for found, wanted in zip(read(folder, import_map), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_elements_may_be_devices(folder: Path) -> None:
    """Devices are in the order of the installation's elements."""
    expected = read(folder, tables())
    elements_m = SURFACE_M[planar_array_order(ARRAY)][:, None]
    np.savez(folder / "h.npz", a=baseband(*coefficients(ANTENNAS_M[None], elements_m)))
    np.savez(folder / "s.npz", a=baseband(*coefficients(elements_m, SOURCES_M[:, None])))
    for found, wanted in zip(read(folder, tables()), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.promise("import")
def test_the_measurement_follows_the_signal_model(folder: Path) -> None:
    """At a high SNR, snapshots lie in the span of the sources of their scene, seen through codes and channel."""
    import_map = {
        **tables(scenes=[[0], [2, 1]]),
        "simulate": {"snapshots": 9, "snr_db": [90, 90.0], "codebook": "random", "symbols": "qpsk", "seed": 3},
    }
    found = measured(folder, import_map)
    assert found.snapshots.shape == (2, 9, 5)
    np.testing.assert_allclose(found.snr_db, 90.0)
    assert not np.array_equal(found.ris_codes[0], found.ris_codes[1])
    responses = waves(SOURCES_M)
    for scene, members in enumerate([[0], [2, 1]]):
        for y, codes in zip(found.snapshots[scene], found.ris_codes[scene], strict=True):
            columns = found.channel[scene] @ (codes * responses[members]).T
            symbols, *_ = np.linalg.lstsq(columns, y, rcond=None)
            np.testing.assert_allclose(columns @ symbols, y, atol=1e-3 * np.abs(y).max())
            np.testing.assert_allclose(np.abs(symbols), 1.0, rtol=2e-3)
    again = measured(folder, import_map)
    np.testing.assert_array_equal(found.snapshots, again.snapshots)


def test_snr_is_drawn_within_its_limits_and_all_sources_are_one_scene(folder: Path) -> None:
    found = measured(folder, {**tables(), "simulate": {"snapshots": 12, "snr_db": [3, 4]}})
    assert len(found) == 1
    assert 3 <= found.snr_db[0] <= 4


@pytest.mark.parametrize(
    ("instead", "simulation", "line"),
    [
        ({"channel": None}, {}, r"sionna.channel: expected a table \[sionna.channel\], got none"),
        ({"coefficients": "passband"}, {}, "sionna.frequency_hz: expected > 0 for passband coefficients, got None"),
        (
            {"coefficients": "passband", "frequency_hz": 1e9},
            {},
            "sionna.channel.tau: expected an array's name for",
        ),
        ({"frequency_hz": 1e9}, {}, 'sionna.coefficients: expected "passband" with frequency_hz and tau'),
        ({"scenes": [[0, 3]]}, {}, "sionna.scenes: expected sources 0 to 2, got 3"),
        ({"scenes": [[0, 0]]}, {}, r"sionna.scenes: expected lists of different numbers from 0 on, got \[0, 0\]"),
        ({"sources": {"file": "s.npz", "ris": "rx"}}, {}, "sionna.sources.a: expected one of a, real and imag, got"),
        ({"sources": {"file": "s.npz", "a": "a"}}, {}, "sionna.sources.ris: expected a value, got none"),
        ({"sources": {"file": "s.npz", "a": "b", "ris": "rx"}}, {}, "sionna.sources: .*b: expected an array of that"),
        (
            {"sources": {"file": "s.npz", "a": "tau", "ris": "rx"}},
            {},
            "sionna.sources: .*tau: expected complex",
        ),
        (
            {"sources": {"file": "s.npz", "a": "a", "ris": "tx"}},
            {},
            "sionna.sources: .*expected N = 12 antennas of",
        ),
        (
            {"channel": {"file": "h.npz", "a": "a", "ris": "tx", "surface": 1}},
            {},
            "sionna.channel: surface: expected 0 to 0",
        ),
        ({"channel": {"file": "h.npz", "a": "a", "ris": "tx", "station": 1}}, {}, "sionna.channel.station: expected 0"),
        ({"channel": {"file": "s.npz", "a": "a", "ris": "rx"}}, {}, "sionna.channel: .*expected M = 5 antennas as"),
        (
            {"channel": {"file": "h.npz", "a": "moving", "ris": "tx"}},
            {},
            "sionna.channel: .*at most one time step",
        ),
        ({"channel": {"file": "h.npz", "a": "nan", "ris": "tx"}}, {}, "sionna.channel: .*nan: expected finite numbers"),
        ({"channel": {"file": "h.npz", "a": "none", "ris": "tx"}}, {}, "channel: expected paths between surface and"),
        ({}, {"snapshots": 13}, "simulate.snapshots: expected at most 12 DFT codes, got 13"),
        ({}, {"snr_db": [5, 3]}, r"simulate.snr_db: expected \[low, high\] with low <= high, got \[5.0, 3.0\]"),
        ({}, {"sead": 1}, "simulate.sead: unknown, expected one of snapshots, "),
    ],
)
def test_what_is_wrong_is_one_line(
    folder: Path, instead: dict[str, Any], simulation: dict[str, Any], line: str
) -> None:
    a = baseband(*TO_STATION)
    np.savez(folder / "h.npz", a=a, moving=np.repeat(a, 3, axis=-1), nan=a * np.nan, none=a * 0)
    with pytest.raises(ValueError, match=rf"^.*map.toml: {line}") as error:
        measured(folder, {**tables(**instead), "simulate": {"snapshots": 8, **simulation}})
    assert "\n" not in str(error.value)


def test_delays_of_a_synthetic_array_are_refused(folder: Path) -> None:
    """They are equal for all elements, so they have no near field."""
    np.savez(folder / "h.npz", a=TO_STATION[0], tau=TO_STATION[1][:, 0, :, 0])
    link = {"file": "h.npz", "a": "a", "tau": "tau", "ris": "tx"}
    import_map = tables(coefficients="passband", frequency_hz=1e9, channel=link, sources={**link, "file": "s.npz"})
    with pytest.raises(ValueError, match=r"channel: .*tau: expected the coefficients' shape .* synthetic_array=False"):
        measured(folder, import_map)


def test_elements_on_no_lattice_have_no_order_of_sionna() -> None:
    array = RISArray(positions_m=((0.0, 0.0), (0.1, 0.0), (0.0, 0.2)))
    with pytest.raises(ValueError, match=r'element_order: expected "row" with positions_m, got "sionna"'):
        planar_array_order(array)
