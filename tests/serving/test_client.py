"""`python -m serving.client` as a stranger uses it: a file written by plain NumPy, a server, a list of sources.

The scenes here are simulated from docs/conventions.md alone, with nothing of the project.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.physics.geometry import RISArray
from pipeline.scenes.surfaces import surface_fingerprint
from serving.client.command import main
from serving.client.measurement import read_measurement
from tests.conftest import MODEL_NAME, Served
from tests.serving.ports import held_port
from tests.serving.servers import PATIENCE_S

ROOT = Path(__file__).parents[2]
ANTENNAS, SIDE, SNAPSHOTS, K_MAX = 16, 12, 64, 5
WAVELENGTH_M = 0.3
# azimuth_deg, elevation_deg, range_m of the sources of each scene
SCENES = [[(20.0, -10.0, 1.5)], [(-35.0, 12.0, 2.0), (15.0, 5.0, 1.2)], [(0.0, 0.0, 3.0), (40.0, -20.0, 1.0)]]
NEVER_ASKED = "localhost:1"
PATIENT = ("--timeout_s", str(PATIENCE_S))
NOISE_POWER = np.array([2e-9, 5e-9, 1e-8])
FIELDS = {
    "azimuth_deg": (),
    "elevation_deg": (),
    "range_m": (),
    "position_m": (3,),
    "power_db": (),
    "score": (),
    "position_cov_m2": (3, 3),
    "num_paths": (),
}


def position_m(azimuth_deg: float, elevation_deg: float, range_m: float) -> np.ndarray:
    phi, theta = np.radians([azimuth_deg, elevation_deg])
    return range_m * np.array([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), np.sin(theta)])


def complex_normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2)


def plain_arrays() -> dict[str, np.ndarray]:
    """y_l = H diag(c_l) sum_k sqrt(p_k) a_k s_kl + n_l for `SCENES`, one channel [M, N] and one codebook [L, N]."""
    rng = np.random.default_rng(2024)
    index = np.arange(SIDE**2)
    offset = (SIDE - 1) / 2
    elements = np.stack([np.zeros(SIDE**2), index % SIDE - offset, index // SIDE - offset], -1) * WAVELENGTH_M / 2
    channel = complex_normal(rng, ANTENNAS, SIDE**2) / np.sqrt(ANTENNAS)
    codes = np.exp(2j * np.pi * rng.integers(0, 8, (SNAPSHOTS, SIDE**2)) / 8)
    snapshots = np.sqrt(NOISE_POWER)[:, None, None] * complex_normal(rng, len(SCENES), SNAPSHOTS, ANTENNAS)
    for scene, sources in enumerate(SCENES):
        for source in sources:
            place, range_m = position_m(*source), source[2]
            path = range_m - np.linalg.norm(place - elements, axis=-1)
            steering = np.exp(2j * np.pi / WAVELENGTH_M * path) / SIDE
            amplitude = WAVELENGTH_M / (4 * np.pi * range_m) * complex_normal(rng, SNAPSHOTS)
            snapshots[scene] += amplitude[:, None] * ((codes * steering) @ channel.T)
    return {"snapshots": snapshots, "ris_codes": codes, "channel": channel, "noise_power": NOISE_POWER}


def written(path: Path, **changes: np.ndarray | None) -> Path:
    """`plain_arrays` with changes as a measurement file; None leaves an array out."""
    arrays = {**plain_arrays(), **changes}
    narrow = {np.dtype(np.complex128): np.complex64, np.dtype(np.float64): np.float32}
    np.savez(path, **{name: value.astype(narrow[value.dtype]) for name, value in arrays.items() if value is not None})
    return path


@pytest.fixture(scope="module")
def target(tiny_server: Served) -> str:
    return tiny_server.target


@pytest.fixture(scope="module")
def version(tiny_model: Path) -> int:
    (folder,) = tiny_model.iterdir()
    return int(folder.name)


def ask(target: str, measurement: Path, output: Path, *options: str) -> list[dict]:
    files = ("--input", str(measurement), "--output", str(output))
    main(["--target", target, *files, *PATIENT, *options])
    return json.loads(output.read_text(), parse_constant=pytest.fail)


@pytest.fixture(scope="module")
def located(target: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """Answer to `plain_arrays`, by a client in another process, in a folder that holds the measurement alone."""
    folder = tmp_path_factory.mktemp("away")
    written(folder / "measurement.npz")
    command = [sys.executable, "-m", "serving.client", "--target", target, "--model_name", MODEL_NAME]
    files = ["--input", "measurement.npz", "--output", "found/sources.json", *PATIENT]
    done = subprocess.run(
        [*command, *files], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "scene/s" in done.stderr
    assert done.stdout == "found/sources.json: 3 scenes, 5 sources found\n"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
        "found/sources.json",
        "measurement.npz",
    ]
    return json.loads((folder / "found" / "sources.json").read_text(), parse_constant=pytest.fail)


# Answers


def test_output_is_the_interface(located: list[dict], version: int) -> None:
    assert len(located) == len(SCENES)
    for scene in located:
        assert scene.keys() == {"model_version", "num_sources", "sources"}
        assert scene["model_version"] == version
        assert 0 <= scene["num_sources"] == len(scene["sources"]) <= K_MAX
        scores = [source["score"] for source in scene["sources"]]
        assert scores == sorted(scores, reverse=True)
        for source in scene["sources"]:
            assert source.keys() == FIELDS.keys()
            for name, shape in FIELDS.items():
                assert np.shape(source[name]) == shape
                assert np.isfinite(source[name]).all()
            assert 0 <= source["score"] <= 1
            assert source["power_db"] < 1
            covariance = np.array(source["position_cov_m2"])
            np.testing.assert_allclose(covariance, covariance.T, rtol=1e-5, atol=1e-9)
            assert np.linalg.eigvalsh(covariance).min() > 0
            angles = source["azimuth_deg"], source["elevation_deg"], source["range_m"]
            np.testing.assert_allclose(source["position_m"], position_m(*angles), atol=1e-4)


@pytest.mark.promise("several sources", "model server")
def test_sources_of_a_strangers_scenes_are_found(located: list[dict]) -> None:
    """Every source, and nothing else, and so near that only the same axes, units, signs and index order explain it."""
    for truth, scene in zip(SCENES, located, strict=True):
        places = np.array([position_m(*source) for source in truth])
        found = np.array([source["position_m"] for source in scene["sources"]])
        assert len(found) == len(places)
        distance = np.linalg.norm(places[:, None] - found[None], axis=-1)
        assert sorted(distance.argmin(axis=1)) == list(range(len(places)))
        assert distance.min(axis=1).max() < 0.1


def assert_same(one: list[dict], other: list[dict], tolerance: float = 2e-3) -> None:
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        assert first["num_sources"] == second["num_sources"]
        for a, b in zip(first["sources"], second["sources"], strict=True):
            for name in FIELDS:
                np.testing.assert_allclose(a[name], b[name], rtol=10 * tolerance, atol=tolerance, err_msg=name)


def test_answers_do_not_depend_on_the_batch_size(target: str, tmp_path: Path, located: list[dict]) -> None:
    found = ask(target, written(tmp_path / "m.npz"), tmp_path / "out.json", "--batch_size", "2")
    assert_same(found, located)


def test_codes_and_channel_of_each_scene_give_the_same(target: str, tmp_path: Path, located: list[dict]) -> None:
    arrays = plain_arrays()
    full = {name: np.repeat(arrays[name][None], len(SCENES), axis=0) for name in ("ris_codes", "channel")}
    assert_same(ask(target, written(tmp_path / "m.npz", **full), tmp_path / "out.json"), located)


def test_snr_in_place_of_noise_power_gives_the_same(target: str, tmp_path: Path, located: list[dict]) -> None:
    received = np.mean(np.abs(plain_arrays()["snapshots"]) ** 2, axis=(1, 2))
    snr_db = 10 * np.log10(received / NOISE_POWER - 1)
    measurement = written(tmp_path / "m.npz", noise_power=None, snr_db=snr_db)
    assert_same(ask(target, measurement, tmp_path / "out.json"), located)


def test_the_receivers_gain_does_not_matter(target: str, tmp_path: Path, located: list[dict]) -> None:
    arrays = plain_arrays()
    louder = {
        "snapshots": 1e5 * arrays["snapshots"],
        "noise_power": 1e10 * NOISE_POWER,
        "channel": 40.0 * arrays["channel"],
    }
    assert_same(ask(target, written(tmp_path / "m.npz", **louder), tmp_path / "out.json"), located)


def test_a_calibration_is_applied_to_what_is_sent(target: str, tmp_path: Path, located: list[dict]) -> None:
    """Codes told without the elements' phases, and these in a calibration file."""
    response = np.exp(1j * np.random.default_rng(0).uniform(0, 6, SIDE**2)).astype(np.complex64)
    path = tmp_path / "calibration.npz"
    about = {"surface_fingerprint": surface_fingerprint(RISArray())}
    np.savez(path, element_response=response, about=np.array(json.dumps(about)))
    measurement = written(tmp_path / "m.npz", ris_codes=plain_arrays()["ris_codes"] / response)
    assert_same(ask(target, measurement, tmp_path / "out.json", "--calibration", str(path)), located)
    other = {"surface_fingerprint": surface_fingerprint(RISArray(wavelength_m=0.4))}
    np.savez(path, element_response=response, about=np.array(json.dumps(other)))
    said = refusal(target, measurement, "--calibration", str(path))
    assert "--calibration: expected one of the surface of the model ris_localizer, sha256 " in said
    np.savez(path, element_response=response[:100], about=np.array(json.dumps(about)))
    assert "expected one of a surface of 144 elements, got one of 100" in refusal(
        target, measurement, "--calibration", str(path)
    )


# What is refused, in one line


def refusal(target: str, measurement: Path, *options: str) -> str:
    output = measurement.parent / "sources.json"
    with pytest.raises(SystemExit) as stopped:
        ask(target, measurement, output, *options)
    line = str(stopped.value.code)
    assert line.startswith("serving.client: ")
    assert "\n" not in line
    assert not output.exists()
    return line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ris_codes": np.ones((63, 144), complex)}, "ris_codes: expected shape [B, L, N] = [3, 64, 144], got"),
        ({"ris_codes": np.ones(144, complex)}, "ris_codes: expected shape [B, L, N] = [3, 64, 144], got [144]"),
        ({"ris_codes": np.full((64, 144), np.inf + 0j)}, "ris_codes: expected finite numbers"),
        ({"channel": np.ones(144, complex)}, "channel: expected shape [B, M, N] or [M, N], got [144]"),
        ({"channel": np.full((16, 144), np.nan + 0j)}, "channel: expected finite numbers"),
        ({"ris_codes": None}, "ris_codes: expected an array of that name, got"),
        ({"snapshots": None}, "snapshots: expected an array of that name, got"),
        ({"noise_power": np.ones(2)}, "noise_power: expected shape [B] = [3], got [2]"),
        ({"noise_power": np.full(3, np.nan)}, "noise_power: expected finite numbers"),
        ({"noise_power": -np.ones(3)}, "noise_power: expected positive numbers, got -1.0"),
        ({"snapshots": np.zeros((3, 64, 16), complex)}, "snapshots: expected numbers other than zero, got zeros only"),
        ({"ris_codes": np.zeros((64, 144))}, "ris_codes: expected complex reflection coefficients, got dtype float32"),
        ({"noise_power": np.full(3, 1e-30)}, "noise_power: expected at most 100 dB below the received power"),
        ({"noise_power": None, "snr_db": np.array([10.0, 2e3, 10.0])}, "snr_db: expected dB between -100 and 100, got"),
    ],
)
def test_wrong_arrays_are_named_before_any_server_is_asked(tmp_path: Path, changes: dict, message: str) -> None:
    assert message in refusal(NEVER_ASKED, written(tmp_path / "m.npz", **changes))


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    """Cut at several places, none of which may pass for a whole file."""
    whole = written(tmp_path / "whole.npz").read_bytes()
    for share in (0.02, 0.5, 0.9, 0.999):
        path = tmp_path / "m.npz"
        path.write_bytes(whole[: int(share * len(whole))])
        assert str(path) in refusal(NEVER_ASKED, path)


def test_another_surface_or_base_station_is_refused(target: str, tmp_path: Path) -> None:
    arrays = plain_arrays()
    smaller = {"ris_codes": arrays["ris_codes"][:, :100], "channel": arrays["channel"][:, :100]}
    line = refusal(target, written(tmp_path / "m.npz", **smaller))
    assert f"channel: expected N = 144 as the model {MODEL_NAME}, got 100" in line
    fewer = {"snapshots": arrays["snapshots"][..., :8], "channel": arrays["channel"][:8], "noise_power": NOISE_POWER}
    line = refusal(target, written(tmp_path / "m.npz", **fewer))
    assert f"channel: expected M = 16 as the model {MODEL_NAME}, got 8" in line


def test_an_unknown_model_is_named(target: str, tmp_path: Path) -> None:
    line = refusal(target, written(tmp_path / "m.npz"), "--model_name", "ris_locator")
    assert f"{target}: NOT_FOUND: Servable not found for request: Latest(ris_locator)" in line


def test_a_request_past_its_deadline_is_named(target: str, tmp_path: Path) -> None:
    line = refusal(target, written(tmp_path / "m.npz"), "--timeout_s", "0.000001")
    assert "DEADLINE_EXCEEDED" in line


def test_outputs_that_cannot_be_written_are_named_before_any_server_is_asked(tmp_path: Path) -> None:
    measurement, folder = written(tmp_path / "m.npz"), tmp_path / "folder"
    (folder / "m.json").mkdir(parents=True)
    for option, output, words in (
        ("--output", measurement / "sources.json", "File exists"),
        ("--output", folder, f"--output: expected a file, got the folder {folder}"),
        ("--output-dir", folder, f"--output: expected a file, got the folder {folder / 'm.json'}"),
        ("--output-dir", measurement, "File exists"),
        ("--output", measurement, f"--output: expected another file than the inputs, got {measurement}"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["--target", NEVER_ASKED, "--input", str(measurement), option, str(output)])
        assert str(stopped.value.code).startswith("serving.client: ")
        assert words in str(stopped.value.code)
    assert read_measurement(measurement).snapshots.shape == (3, SNAPSHOTS, ANTENNAS)


def test_a_failed_call_leaves_the_last_answer(tmp_path: Path) -> None:
    output = tmp_path / "sources.json"
    output.write_text("[]\n")
    with held_port() as held, pytest.raises(SystemExit):
        ask(held.target, written(tmp_path / "m.npz"), output, "--retries", "0")
    assert output.read_text() == "[]\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.npz", "sources.json"]


def test_a_server_that_is_down_is_one_line_and_a_status(tmp_path: Path) -> None:
    """In a process of its own: what a shell script sees."""
    files = ["--input", str(written(tmp_path / "m.npz")), "--output", "out.json"]
    with held_port() as held:
        command = [sys.executable, "-m", "serving.client", "--target", held.target, *files, "--retries", "1"]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
    assert done.returncode == 1
    assert done.stdout == ""
    waits, error = done.stderr.strip().splitlines()
    assert waits.startswith(f"waiting for {held.target}: ")
    assert error.startswith(f"serving.client: {held.target}: UNAVAILABLE: ")
    assert not (tmp_path / "out.json").exists()


# Options


def test_several_inputs_are_one_list_or_a_file_each(target: str, tmp_path: Path, located: list[dict]) -> None:
    one, two = written(tmp_path / "one.npz"), written(tmp_path / "two.npz", snapshots=plain_arrays()["snapshots"][::-1])
    noise = ["--noise-power", *map(str, NOISE_POWER)]
    found = tmp_path / "found"
    main(["--target", target, "--input", str(one), str(two), "--output-dir", str(found), "--batch_size", "2", *PATIENT])
    assert sorted(path.name for path in found.iterdir()) == ["one.json", "two.json"]
    apart = [json.loads((found / name).read_text()) for name in ("one.json", "two.json")]
    assert_same(apart[0], located)
    together = ask(target, one, tmp_path / "both.json", "--input", str(one), str(two))
    assert_same(together, apart[0] + apart[1])
    # What the file says of the noise is of the scenes in their old order; told on the command line it is right.
    written(tmp_path / "two.npz", snapshots=plain_arrays()["snapshots"][::-1], noise_power=None)
    backwards = ask(target, two, tmp_path / "two.json", "--noise-power", *noise[:0:-1])
    assert_same(backwards, located[::-1])


def test_noise_power_of_the_command_line_is_the_files(target: str, tmp_path: Path, located: list[dict]) -> None:
    quiet = written(tmp_path / "m.npz", noise_power=1e-12 * np.ones(3))
    noise = map(str, NOISE_POWER)
    assert_same(ask(target, quiet, tmp_path / "out.json", "--noise-power", *noise), located)
    one = ask(target, quiet, tmp_path / "out.json", "--noise-power", "5e-9")
    assert_same(one[1:2], located[1:2])


def test_localize_real_and_the_version_asked(target: str, version: int, tmp_path: Path, located: list[dict]) -> None:
    measurement, output = written(tmp_path / "m.npz"), tmp_path / "out.json"
    options = ("--signature_name", "localize_real", "--model_version", str(version))
    assert_same(ask(target, measurement, output, *options), located)
    output.unlink()
    line = refusal(target, measurement, "--model_version", "7")
    assert f"NOT_FOUND: Servable not found for request: Specific({MODEL_NAME}, 7)" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--batch_size", "0"), "--batch_size: expected 1 or more, got 0"),
        (("--timeout_s", "0"), "--timeout_s: expected more than 0, got 0.0"),
        (("--retries", "-1"), "retries: expected 0 or more, got -1"),
        (("--model_version", "-1"), "--model_version: expected 0 or more, got -1"),
        (("--noise-power", "1", "2"), "noise_power: expected shape [B] = [3], got [2]"),
        (("--noise-power", "-1"), "noise_power: expected positive numbers, got -1.0"),
        (("--noise-power", "nan"), "noise_power: expected finite numbers"),
        (("--noise-power", "1e3"), "noise_power: expected less than the received power"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    assert message in refusal(NEVER_ASKED, written(tmp_path / "m.npz"), *options)


def test_inputs_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    one, two = written(tmp_path / "m.npz"), written(tmp_path / "a" / "m.npz")
    with pytest.raises(SystemExit) as stopped:
        main(["--target", NEVER_ASKED, "--input", str(one), str(two), "--output-dir", str(tmp_path / "found")])
    assert stopped.value.code == f"serving.client: --input: expected files of different names, got {two} and {one}"


def test_a_wrong_scene_far_down_the_second_file_leaves_no_output(target: str, tmp_path: Path) -> None:
    snapshots = plain_arrays()["snapshots"]
    snapshots[2, 60, 3] = np.nan
    one, two = written(tmp_path / "one.npz"), written(tmp_path / "two.npz", snapshots=snapshots)
    line = refusal(target, one, "--input", str(one), str(two), "--batch_size", "1")
    assert f"{two}: snapshots: expected finite numbers" in line
