"""Scenario folders in the layout of DeepMIMO v4, computed from positions: a direct path and one off a wall."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from models.physics.geometry import RISArray, Scenario
from pipeline.import_data.adapter_config import DeepMIMOImport
from pipeline.import_data.deepmimo import channel_matrix, facing, read_scenario, source_response
from pipeline.import_data.map_file import read_map
from tests.pipeline.import_data.written import imported, write_map

C = 299_792_458.0
FREQUENCY_HZ = 1e9
K0 = 2 * np.pi * FREQUENCY_HZ / C
ARRAY = RISArray(4, 3, wavelength_m=C / FREQUENCY_HZ)
SCENARIO = Scenario(array=ARRAY, num_antennas=6)
SURFACE_M, FACING_DEG = np.array([10.0, -4.0, 3.0]), (100.0, -10.0)
USERS_M = SURFACE_M + np.array([[-0.5, 3.0, -1.0], [1.0, 2.0, 0.3], [0.4, 6.0, -0.2]])
STATIONS_M = SURFACE_M + np.array([[0.0, 0.0, 0.0], [-20.0, 60.0, 4.0]])
WALL_X_M, REFLECTION = 15.0, -0.4


def unfolded(transmitter_m: np.ndarray, receiver_m: np.ndarray) -> list[tuple[float, float, np.ndarray, np.ndarray]]:
    """(gain, length, departure, arrival) of the direct path and the path off the wall; unit vectors from each end."""
    flip, shift = np.array([-1.0, 1.0, 1.0]), np.array([2 * WALL_X_M, 0.0, 0.0])
    found = []
    for gain, seen_m, is_mirrored in ((1.0, transmitter_m, False), (REFLECTION, transmitter_m * flip + shift, True)):
        away_m = seen_m - receiver_m
        length_m = float(np.linalg.norm(away_m))
        departure = -away_m / length_m if length_m else away_m
        found.append((gain, length_m, departure * flip if is_mirrored else departure, -departure))
    return found


def write_link(
    folder: Path, suffix: str, transmitter_m: np.ndarray, receivers_m: np.ndarray, *, whole: bool, ending: str
) -> None:
    """Writes a float32 file per quantity. The third path is missing; a receiver at the transmitter has no paths."""
    shape = (len(receivers_m), 3)
    names = ("power", "phase", "delay", "aod_az", "aod_el", "aoa_az", "aoa_el")
    arrays = {name: np.full(shape, np.nan, np.float32) for name in names}
    for row, receiver_m in enumerate(receivers_m):
        for path, (gain, length_m, departure, arrival) in enumerate(unfolded(transmitter_m, receiver_m)):
            if np.array_equal(transmitter_m, receiver_m):
                continue
            turned = np.angle(gain * np.exp(-1j * K0 * length_m * whole), deg=True)
            values = [20 * np.log10(abs(gain) / (2 * K0 * length_m)), turned, length_m / C]
            for x, y, z in (departure, arrival):
                values += [np.degrees(np.arctan2(y, x)), np.degrees(np.arccos(z))]
            for name, value in zip(names, values, strict=True):
                arrays[name][row, path] = value
    arrays |= {"rx_pos": receivers_m.astype(np.float32), "tx_pos": transmitter_m.astype(np.float32)[None]}
    for name, values in arrays.items():
        if ending == "mat":
            scipy.io.savemat(folder / f"{name}_{suffix}.mat", {name: values})
        else:
            np.savez_compressed(folder / f"{name}_{suffix}.npz", **{name: values})


def write_scenario(folder: Path, tracer: str = "Remcom Wireless Insite", ending: str = "npz", **params: Any) -> Path:
    """Set 1 holds base stations, with transmitter 0 at the position of the surface; set 0 holds users."""
    scenario = folder / "scenario"
    scenario.mkdir()
    whole = tracer != "Sionna Ray Tracing"
    write_link(scenario, "t001_tx000_r000", SURFACE_M, USERS_M, whole=whole, ending=ending)
    write_link(scenario, "t001_tx000_r001", SURFACE_M, STATIONS_M, whole=whole, ending=ending)
    content = {
        "version": "4.0.5",
        "rt_params": {"frequency": FREQUENCY_HZ, "raytracer_name": tracer},
        "txrx_sets": {f"txrx_set_{number}": {"id": number} for number in range(2)},
        "scene": {"num_scenes": 1},
        **params,
    }
    (scenario / "params.json").write_text(json.dumps(content))
    return scenario


def tables(**instead: Any) -> dict[str, Any]:
    content = {
        "folder": "scenario",
        "scenes": [[0, 2], [1]],
        "ris_facing_deg": list(FACING_DEG),
        "station_facing_deg": [-70.0, 0.0],
        "station_rows": 2,
        "channel": {"tx_set": 1, "rx_set": 1, "ris": "tx", "surface": 0, "station": 1},
        "sources": {"tx_set": 1, "rx_set": 0, "ris": "tx", "surface": 0},
        **instead,
    }
    return {"deepmimo": {name: table for name, table in content.items() if table is not None}}


def read(folder: Path, **instead: Any) -> tuple[np.ndarray, np.ndarray]:
    """Channel [M, N] and responses to all users [K, N]."""
    found = read_map(write_map(folder, tables(**instead)))
    assert isinstance(found, DeepMIMOImport)
    config = found.deepmimo
    data = read_scenario(config)
    responses = [source_response(config, data, ARRAY, user) for user in range(len(USERS_M))]
    return channel_matrix(config, data, ARRAY, SCENARIO.num_antennas), np.stack(responses)


def elements_m(array: RISArray, centre_m: np.ndarray, facing_deg: tuple[float, float]) -> np.ndarray:
    """Element positions of an array in the scenario, from its angles: the up axis tilts back as the boresight rises."""
    azimuth, elevation = np.deg2rad(facing_deg)
    left = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    up = np.array([-np.sin(elevation) * np.cos(azimuth), -np.sin(elevation) * np.sin(azimuth), np.cos(elevation)])
    return centre_m + array.element_positions_m() @ np.stack([left, up])


def waves(places_m: np.ndarray) -> np.ndarray:
    """Waves from positions and their images behind the wall at the elements, with the loss at the centre: [K, N]."""
    at_m = elements_m(ARRAY, SURFACE_M, FACING_DEG)
    total = np.zeros((len(places_m), len(at_m)), complex)
    for gain, seen_m in ((1.0, places_m), (REFLECTION, places_m * [-1, 1, 1] + [2 * WALL_X_M, 0, 0])):
        loss = 1.0 / (2 * K0 * np.linalg.norm(seen_m - SURFACE_M, axis=-1))
        total += (gain * loss)[:, None] * np.exp(-1j * K0 * np.linalg.norm(seen_m[:, None] - at_m, axis=-1))
    return total


@pytest.mark.parametrize("tracer", ["Remcom Wireless Insite", "Sionna Ray Tracing"])
@pytest.mark.parametrize("ending", ["npz", "mat"])
def test_sources_reach_the_surface_in_the_near_field(tmp_path: Path, tracer: str, ending: str) -> None:
    """Exactly, including images, whether or not the phases in the files include that of the delay."""
    write_scenario(tmp_path, tracer, ending)
    _, responses = read(tmp_path)
    expected = waves(USERS_M)
    np.testing.assert_allclose(responses, expected, atol=1e-4 * np.abs(expected).max())


def test_plane_waves_are_the_far_field_limit(tmp_path: Path) -> None:
    """The direct path gives DeepMIMO's own array response, exp(j k d (y sin theta sin phi + z cos theta))."""
    scenario = write_scenario(tmp_path)
    for path in scenario.glob("power_*"):
        power = np.load(path)["power"]
        power[:, 1:] = np.nan
        np.savez(path, power=power)
    _, responses = read(tmp_path, wavefront="plane")
    directions = (USERS_M - SURFACE_M) / np.linalg.norm(USERS_M - SURFACE_M, axis=-1, keepdims=True)
    offsets_m = elements_m(ARRAY, np.zeros(3), FACING_DEG)
    expected = np.exp(1j * K0 * directions @ offsets_m.T)
    ratio = responses / expected
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-4)
    curved = read(tmp_path)[1] / expected
    assert np.ptp(np.angle(curved / ratio), axis=1).min() > 0.03


def test_the_channel_follows_every_path_to_every_antenna(tmp_path: Path) -> None:
    """At 63 m, plane waves across the base station agree with exact distances from elements to antennas."""
    write_scenario(tmp_path)
    channel, _ = read(tmp_path)
    antennas_m = elements_m(RISArray(3, 2, ARRAY.wavelength_m), STATIONS_M[1], (-70.0, 0.0))
    expected = waves(antennas_m)
    np.testing.assert_allclose(channel, expected, atol=0.02 * np.abs(expected).max())


def test_phase_falls_with_the_path(tmp_path: Path) -> None:
    """A quarter of a wavelength further on the same ray, the phase is a quarter turn lower."""
    write_scenario(tmp_path)
    found = []
    for step_m in (0.0, 0.25 * ARRAY.wavelength_m):
        direction = (USERS_M[0] - SURFACE_M) / np.linalg.norm(USERS_M[0] - SURFACE_M)
        users_m = USERS_M + step_m * direction
        folder = tmp_path / "scenario"
        write_link(folder, "t001_tx000_r000", SURFACE_M, users_m, whole=True, ending="npz")
        power = np.load(folder / "power_t001_tx000_r000.npz")["power"]
        power[:, 1:] = np.nan
        np.savez(folder / "power_t001_tx000_r000.npz", power=power)
        found.append(read(tmp_path, wavefront="plane")[1][0])
    np.testing.assert_allclose(np.angle(found[1] / found[0]), -np.pi / 2, atol=1e-4)


def test_either_end_may_be_the_surface(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path)
    _, expected = read(tmp_path)
    for user, user_m in enumerate(USERS_M):
        write_link(scenario, f"t003_tx{user:03}_r004", user_m, SURFACE_M[None], whole=True, ending="npz")
    _, found = read(tmp_path, sources={"tx_set": 3, "rx_set": 4, "ris": "rx", "surface": 0})
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_axes_of_an_array_are_a_right_handed_frame() -> None:
    np.testing.assert_allclose(facing((0.0, 0.0)), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(facing(FACING_DEG)), 1.0)


def site(folder: Path) -> Path:
    """Writes the installation, with its wavelength rounded to three digits."""
    path = folder / "site.toml"
    path.write_text("[array]\nrows = 3\ncolumns = 4\nwavelength_m = 0.3\n[base_station]\nantennas = 6\n")
    return path


@pytest.mark.promise("import")
def test_the_measurement(tmp_path: Path) -> None:
    write_scenario(tmp_path)
    import_map = {**tables(), "simulate": {"snapshots": 10, "snr_db": [80, 80]}}
    found = imported(tmp_path, import_map, site(tmp_path))
    assert found.snapshots.shape == (2, 10, 6)
    _, responses = read(tmp_path)
    for y, codes in zip(found.snapshots[1], found.ris_codes[1], strict=True):
        column = found.channel[1] @ (codes * responses[1])
        np.testing.assert_allclose(abs(np.vdot(column, y)), np.linalg.norm(column) * np.linalg.norm(y), rtol=1e-4)


@pytest.mark.parametrize(
    ("instead", "params", "line"),
    [
        ({"folder": "elsewhere"}, {}, "deepmimo.folder: expected a scenario of DeepMIMO v4, .*params.json"),
        ({}, {"rt_params": {}}, r"deepmimo.folder: expected a scenario of DeepMIMO v4, .*KeyError\('frequency'\)"),
        ({}, {"scene": {"num_scenes": 4}}, "deepmimo.folder: expected a static scenario, .* has 4 scenes"),
        ({}, {"rt_params": {"frequency": 1e9}}, 'deepmimo.phase: expected "whole" or "without_delay" for paths not of'),
        (
            {},
            {"rt_params": {"frequency": 28e9, "raytracer_name": "Sionna Ray Tracing"}},
            "--installation: expected array",
        ),
        ({"scenes": []}, {}, r"deepmimo.scenes: expected at least 1, got \[\]"),
        ({"scenes": [[-1]]}, {}, "deepmimo.scenes: expected lists of different numbers from 0 on"),
        ({"scenes": [[3]]}, {}, "deepmimo.sources: expected a receiver 0 to 2, got 3"),
        ({"station_rows": 4}, {}, "deepmimo.station_rows: expected a divisor of 6 antennas, got 4"),
        ({"ris_facing_deg": [3.0]}, {}, r"deepmimo.ris_facing_deg: expected 2 values, got \[3.0\]"),
        ({"ris_facing_deg": [-80.0, 0.0]}, {}, "(channel|sources): expected paths (to|between) .*, got none"),
        ({"sources": None}, {}, r"deepmimo.sources: expected a table \[deepmimo.sources\], got none"),
        (
            {"sources": {"tx_set": 1, "rx_set": 7, "ris": "tx", "surface": 0}},
            {},
            "scenario: expected power_t001_tx000_r007.npz or .mat, found none; links are _t001_tx000_r000, _t001_tx000",
        ),
        (
            {"channel": {"tx_set": 1, "rx_set": 1, "ris": "tx", "surface": 0, "station": 0}},
            {},
            "channel: expected paths between surface and base station, got none",
        ),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, instead: dict[str, Any], params: dict[str, Any], line: str) -> None:
    write_scenario(tmp_path, **params)
    with pytest.raises(ValueError, match=rf"^.*map.toml: .*{line}") as error:
        imported(tmp_path, {**tables(**instead), "simulate": {"snapshots": 8}}, site(tmp_path))
    assert "\n" not in str(error.value)


def test_paths_that_lack_something_are_named(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path)
    np.savez(scenario / "delay_t001_tx000_r000.npz", delay=np.full((3, 3), np.nan))
    with pytest.raises(ValueError, match=r"deepmimo.sources: expected phase, delay and angles of every path"):
        read(tmp_path)
    np.savez(scenario / "delay_t001_tx000_r000.npz", delay=np.zeros(3))
    with pytest.raises(ValueError, match=r"delay_t001_tx000_r000.npz: delay: expected \[receiver, path\], got shape"):
        read(tmp_path)
