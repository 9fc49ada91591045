"""Measurement files read a few scenes at a time: the same numbers, the same refusals, little memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from serving.client.measurement import check_measurement, read_measurement
from serving.client.measurement_file import MeasurementFile

SCENES, SNAPSHOTS, ANTENNAS, ELEMENTS = 7, 4, 3, 6
MEGABYTE = 2**20


def complex_normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def arrays(**changes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {
        "snapshots": complex_normal(rng, SCENES, SNAPSHOTS, ANTENNAS),
        "ris_codes": np.exp(1j * rng.uniform(0, 6, (SCENES, SNAPSHOTS, ELEMENTS))).astype(np.complex64),
        "channel": complex_normal(rng, ANTENNAS, ELEMENTS),
        "noise_power": rng.uniform(0.01, 0.1, SCENES).astype(np.float32),
    }
    made.update(changes)
    return {name: value for name, value in made.items() if value is not None}


def assert_batches(file: MeasurementFile, expected: dict[str, np.ndarray], size: int) -> None:
    batches = list(file.batches(size))
    whole = check_measurement(expected)
    assert [len(batch) for batch in batches] == [min(size, SCENES - first) for first in range(0, SCENES, size)]
    for name, value in whole.inputs(0, SCENES).items():
        found = np.concatenate([batch.inputs(0, size)[name] for batch in batches])
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value, err_msg=name)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_batches_are_the_whole_file(tmp_path: Path, save, size: int) -> None:
    save(tmp_path / "m.npz", **arrays())
    assert_batches(MeasurementFile(tmp_path / "m.npz"), arrays(), size)


@pytest.mark.parametrize(
    "changes",
    [
        {"snapshots": np.asfortranarray(arrays()["snapshots"])},
        {"snapshots": arrays()["snapshots"].astype(np.complex128).byteswap().view(np.dtype(">c16"))},
        {"channel": np.repeat(arrays()["channel"][None], SCENES, axis=0)},
        {"ris_codes": np.ones((SNAPSHOTS, ELEMENTS), np.complex128)},
        {"noise_power": np.float64(0.02)},
        {"noise_power": None, "snr_db": np.arange(SCENES)},
    ],
    ids=["fortran", "big-endian", "channels", "one-codebook", "one-level", "snr"],
)
def test_any_form_that_numpy_writes(tmp_path: Path, changes: dict) -> None:
    np.savez(tmp_path / "m.npz", **arrays(**changes))
    assert_batches(MeasurementFile(tmp_path / "m.npz"), arrays(**changes), 3)


@pytest.mark.parametrize("noise_power", [np.float64(0.05), np.linspace(0.01, 0.07, SCENES)])
@pytest.mark.parametrize("held", [{}, {"noise_power": None, "snr_db": np.zeros(SCENES)}, {"noise_power": None}])
def test_noise_power_takes_the_place_of_the_files(tmp_path: Path, held: dict, noise_power: np.ndarray) -> None:
    np.savez(tmp_path / "m.npz", **arrays(**held))
    file = MeasurementFile(tmp_path / "m.npz", np.asarray(noise_power))
    assert_batches(file, arrays(noise_power=noise_power), 2)


@pytest.mark.parametrize(
    ("changes", "noise_power", "words"),
    [
        ({"snapshots": np.ones((SCENES, SNAPSHOTS))}, None, "snapshots: expected shape [B, L, M], got [7, 4]"),
        ({"ris_codes": np.array(["on", "off"])}, None, "ris_codes: expected complex64, got dtype <U3"),
        ({"channel": np.array([{}], object)}, None, "channel: expected complex64, got dtype object"),
        ({}, np.ones(3), "noise_power: expected shape [B] = [7], got [3]"),
        ({"channel": np.ones((SCENES - 1, ANTENNAS, ELEMENTS))}, None, "channel: expected shape [B, M, N] = [7, 3, 6]"),
    ],
)
def test_wrong_layouts_are_named_on_opening(tmp_path: Path, changes: dict, noise_power, words: str) -> None:
    np.savez(tmp_path / "m.npz", **arrays(**changes))
    with pytest.raises(ValueError) as error:
        MeasurementFile(tmp_path / "m.npz", noise_power)
    assert str(error.value).startswith(f"{tmp_path / 'm.npz'}: ")
    assert words in str(error.value)


def test_wrong_numbers_are_named_with_the_number_of_the_scene(tmp_path: Path) -> None:
    given = arrays()
    given["noise_power"][5] = 1e6
    np.savez(tmp_path / "loud.npz", **given)
    with pytest.raises(
        ValueError, match=r"noise_power: expected less than the received power .* of scene 5, got 1e\+06"
    ):
        MeasurementFile(tmp_path / "loud.npz").verify(2)
    given = arrays()
    given["ris_codes"][6, 1, 2] = np.nan
    np.savez(tmp_path / "nan.npz", **given)
    with pytest.raises(ValueError, match="ris_codes: expected finite numbers, got NaN or infinity"):
        MeasurementFile(tmp_path / "nan.npz").verify(2)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_bit_is_noticed(tmp_path: Path, save) -> None:
    """By the checksum, in whichever array it lies."""
    save(tmp_path / "m.npz", **arrays())
    whole = (tmp_path / "m.npz").read_bytes()
    for name in ("snapshots", "ris_codes", "channel", "noise_power"):
        content = bytearray(whole)
        start = whole.index(f"{name}.npy".encode())
        content[start + 190] ^= 1
        (tmp_path / "broken.npz").write_bytes(content)
        for read in (read_measurement, lambda path: MeasurementFile(path).verify(2)):
            with pytest.raises(ValueError, match=r"broken\.npz: "):
                read(tmp_path / "broken.npz")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """100 kB a scene, as the shipped installation has it: 400 scenes in 40 MB, 20 at a time."""
    rng = np.random.default_rng(1)
    scenes = {
        "snapshots": complex_normal(rng, 400, 64, 16),
        "ris_codes": np.broadcast_to(complex_normal(rng, 64, 144), (400, 64, 144)),
        "channel": np.broadcast_to(complex_normal(rng, 16, 144), (400, 16, 144)),
        "snr_db": np.zeros(400, np.float32),
    }
    np.savez(tmp_path / "large.npz", **scenes)
    del scenes
    size = (tmp_path / "large.npz").stat().st_size
    assert size > 36 * MEGABYTE
    tracemalloc.start()
    try:
        MeasurementFile(tmp_path / "large.npz").verify(20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size / 4
