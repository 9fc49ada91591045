"""Measurement files: what is converted, and the one line a wrong file gets."""

from pathlib import Path

import numpy as np
import pytest

from serving.client.command import main
from serving.client.measurement import check_measurement, read_measurement, write_measurement
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
        ({"ris_codes": np.ones((4, 7))}, "ris_codes: expected shape [B, L, N] = [2, 4, 6], got [2, 4, 7]"),
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
