"""Measurement files: what is converted, and the one line a wrong file gets."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from serving.client.command import main
from serving.client.measurement import MeasurementWarning, check_measurement, read_measurement, write_measurement
from serving.client.measurement_file import MeasurementFile
from tests.serving.ports import held_port

BATCH, SNAPSHOTS, ANTENNAS, ELEMENTS = 2, 4, 3, 6


def arrays(**changes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {
        "snapshots": (BATCH, SNAPSHOTS, ANTENNAS),
        "ris_codes": (SNAPSHOTS, ELEMENTS),
        "channel": (ANTENNAS, ELEMENTS),
    }
    made = {name: rng.normal(size=shape) + 1j * rng.normal(size=shape) for name, shape in shapes.items()}
    made["ris_codes"] = made["ris_codes"] / np.abs(made["ris_codes"])
    made["snr_db"] = np.array([3.0, 10.0])
    made.update(changes)
    return {name: value for name, value in made.items() if value is not None}


def test_codes_and_channel_are_broadcast_and_converted() -> None:
    measurement = check_measurement(arrays())
    assert measurement.ris_codes.shape == (BATCH, SNAPSHOTS, ELEMENTS)
    assert measurement.channel.shape == (BATCH, ANTENNAS, ELEMENTS)
    assert measurement.snapshots.dtype == np.complex64
    assert measurement.snr_db.dtype == np.float32


def test_batches_are_the_scenes_in_order() -> None:
    measurement = check_measurement(arrays())
    batches = list(measurement.batches(1))
    assert [len(batch) for batch in batches] == [1, 1]
    for name, value in measurement.inputs(0, BATCH).items():
        np.testing.assert_array_equal(np.concatenate([batch.inputs(0, 1)[name] for batch in batches]), value)
    assert [len(batch) for batch in measurement.batches(9)] == [2]


def test_noise_power_becomes_the_snr() -> None:
    given = arrays(snr_db=None)
    received = np.mean(np.abs(given["snapshots"]) ** 2, axis=(1, 2))
    measurement = check_measurement({**given, "noise_power": received / 11.0})
    np.testing.assert_allclose(measurement.snr_db, 10.0, atol=1e-4)


def test_a_file_comes_back_as_written(tmp_path: Path) -> None:
    measurement = check_measurement(arrays())
    write_measurement(tmp_path / "m.npz", measurement)
    again = read_measurement(tmp_path / "m.npz")
    for name, value in measurement.inputs(0, BATCH).items():
        np.testing.assert_array_equal(again.inputs(0, BATCH)[name], value)
    assert [path.name for path in tmp_path.iterdir()] == ["m.npz"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"snapshots": np.ones((4, 3))}, "snapshots: expected shape [B, L, M], got [4, 3]"),
        ({"snapshots": np.ones((0, 4, 3))}, "snapshots: expected at least one scene"),
        ({"snapshots": np.ones((2, 0, 3))}, "snapshots: expected at least one snapshot"),
        ({"snapshots": np.full((2, 4, 3), np.nan)}, "snapshots: expected finite numbers"),
        ({"channel": np.ones((5, 6))}, "channel: expected shape [B, M, N] = [2, 3, 6], got [2, 5, 6]"),
        ({"ris_codes": np.ones((4, 7), complex)}, "ris_codes: expected shape [B, L, N] = [2, 4, 6], got [2, 4, 7]"),
        ({"channel": None}, "channel: expected an array of that name"),
        ({"snr_db": None}, "expected either snr_db or noise_power, got neither"),
        ({"noise_power": np.ones(2)}, "got snr_db and noise_power"),
        ({"snr_db": None, "noise_power": np.zeros(2)}, "noise_power: expected positive numbers"),
        ({"snr_db": None, "noise_power": np.full(2, 1e9)}, "noise_power: expected less than the received power"),
        ({"snr_db": np.array(["loud", "low"])}, "snr_db: expected float32, got dtype"),
    ],
)
def test_wrong_arrays_are_named(changes: dict, words: str) -> None:
    with pytest.raises(ValueError) as error:
        check_measurement(arrays(**changes))
    assert words in str(error.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int64])
def test_real_codes_are_refused_with_what_to_do(dtype: type) -> None:
    """Phases in radians and real parts have the right shape and locate nothing, or something wrong."""
    with pytest.raises(ValueError, match=r"ris_codes: expected complex .*, got dtype .*np\.exp\(1j \* phases\)"):
        check_measurement(arrays(ris_codes=np.ones((SNAPSHOTS, ELEMENTS), dtype)))


def turned(*axes: int, **names: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.transpose(value, axes) for name, value in names.items()}


@pytest.mark.parametrize(
    ("changes", "named", "got"),
    [
        (turned(0, 2, 1, snapshots=arrays()["snapshots"]), ["snapshots"], "[B, M, L]"),
        (turned(1, 2, 0, snapshots=arrays()["snapshots"]), ["snapshots"], "[L, M, B]"),
        (turned(1, 0, channel=arrays()["channel"]), ["channel"], "[N, M]"),
        (turned(1, 0, ris_codes=arrays()["ris_codes"]), ["ris_codes"], "[N, L]"),
        (
            turned(2, 1, 0, snapshots=arrays()["snapshots"])
            | turned(1, 0, channel=arrays()["channel"], ris_codes=arrays()["ris_codes"]),
            ["snapshots", "ris_codes", "channel"],
            "[M, L, B]",
        ),
    ],
    ids=["snapshots", "scenes last", "channel", "codes", "all, as MATLAB writes them"],
)
def test_swapped_axes_blame_the_array_that_has_them(changes: dict, named: list[str], got: str) -> None:
    given = arrays(**changes)
    with pytest.raises(ValueError) as error:
        check_measurement(given)
    said = str(error.value)
    assert "\n" not in said
    assert "axes look swapped" in said and got in said
    for name in ("snapshots", "ris_codes", "channel"):
        assert (f"{name}: expected shape" in said) == (name in named)
        if name in named:
            assert f"got {list(given[name].shape)}" in said


def test_the_surface_of_a_new_user_with_transposed_snapshots() -> None:
    """10 x 14 elements, 4 antennas: the channel was blamed once."""
    given = {"snapshots": np.ones((1, 4, 64), complex), "ris_codes": np.ones((64, 140), complex)}
    with pytest.raises(ValueError, match=r"snapshots: expected shape \[B, L, M\] = \[1, 64, 4\], got \[1, 4, 64\]"):
        check_measurement({**given, "channel": np.ones((4, 140), complex), "snr_db": np.ones(1)})


@pytest.mark.parametrize("name", ["snapshots", "channel", "ris_codes"])
def test_zeros_only_are_refused(name: str) -> None:
    given = check_measurement(arrays()).inputs(0, BATCH)
    given[name][1] = 0.0
    with pytest.raises(ValueError, match=f"{name}: expected .*zero.* scene 1$"):
        check_measurement(given)


@pytest.mark.parametrize("snr_db", [2000.0, 100.5, -101.0])
def test_an_snr_beyond_any_receiver_is_refused(snr_db: float) -> None:
    with pytest.raises(ValueError, match=rf"snr_db: expected dB between -100 and 100, got {snr_db:g} in scene 1"):
        check_measurement(arrays(snr_db=np.array([3.0, snr_db])))


def test_a_noise_power_beyond_any_receiver_is_refused() -> None:
    with pytest.raises(ValueError, match="noise_power: expected at most 100 dB below the received power"):
        check_measurement(arrays(snr_db=None, noise_power=np.float64(1e-12)))


UNIT_CODES = np.exp(2j * np.pi * np.arange(SNAPSHOTS * ELEMENTS) / 7).reshape(SNAPSHOTS, ELEMENTS)


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"ris_codes": 3.0 * UNIT_CODES}, "ris_codes", "|c|"),
        ({"ris_codes": np.angle(UNIT_CODES).astype(complex)}, "ris_codes", "np.exp(1j * phases)"),
        ({"ris_codes": 1e-3 * UNIT_CODES}, "ris_codes", "|c|"),
        ({"snr_db": np.array([10.0, 100.0])}, "snr_db", "in scene 1; is it a ratio of powers?"),
        ({"snr_db": np.float32(-90.0)}, "snr_db", "dBm"),
        ({"snr_db": None, "noise_power": np.float64(1e-7)}, "noise_power", "|snapshots|^2"),
    ],
)
def test_what_is_probably_not_meant_is_warned_about(tmp_path: Path, changes: dict, name: str, words: str) -> None:
    """By arrays, by a file, and once by a file in batches."""
    given = {"ris_codes": UNIT_CODES, **changes}
    path = tmp_path / "m.npz"
    np.savez(path, **arrays(**given))
    for check in (
        lambda: check_measurement(arrays(**given)),
        lambda: read_measurement(path),
        lambda: list(MeasurementFile(path).batches(1)),
    ):
        with pytest.warns(MeasurementWarning) as caught:
            check()
        (warning,) = caught
        assert f"{name}: expected" in str(warning.message)
        assert words in str(warning.message)
        assert "\n" not in str(warning.message)


def test_what_is_usual_is_not_warned_about() -> None:
    """Losses of an element, and every SNR that an installation has."""
    losses = np.linspace(0.6, 1.0, ELEMENTS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for snr_db in (-20.0, 0.0, 45.0):
            check_measurement(arrays(ris_codes=losses * UNIT_CODES, snr_db=np.float32(snr_db)))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_a_broken_file_and_a_missing_one_get_one_line(tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "m.npz"
    broken.write_bytes(content)
    for path in (broken, tmp_path / "none.npz"):
        with pytest.raises(SystemExit) as stopped:
            main(["--target", "localhost:1", "--input", str(path), "--output", str(tmp_path / "out.json")])
        assert str(path) in str(stopped.value)
        assert "\n" not in str(stopped.value)
    assert not (tmp_path / "out.json").exists()


def test_a_server_that_is_down_gets_one_line(tmp_path: Path) -> None:
    write_measurement(tmp_path / "m.npz", check_measurement(arrays()))
    files = ["--input", str(tmp_path / "m.npz"), "--output", str(tmp_path / "out.json")]
    with held_port() as held, pytest.raises(SystemExit) as stopped:
        main(["--target", held.target, *files, "--retries", "0"])
    assert f"{held.target}: UNAVAILABLE" in str(stopped.value)
    assert "\n" not in str(stopped.value)
