"""Validation of shards: a sound set passes, every kind of fault is named, and skew of what is served is seen."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from pipeline.scenes.reading import load_scenes
from pipeline.validate.options import ValidateOptions
from pipeline.validate.validating import validate
from pipeline.validate.validation import Findings, duplicates, inspect, measurement_figures, skew
from serving.client.measurement import check_measurement, write_measurement
from tests.conftest import SCENE_SETS
from tfds_shards.scene_sets import scene_set

SET = scene_set(SCENE_SETS[0])
Batch = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def scenes(tiny_scenes: Path) -> Batch:
    """All training scenes of the set."""
    return next(load_scenes(tiny_scenes, SET.name, "train", batch_size=SET.train).as_numpy_iterator())


def spoiled(scenes: Batch, name: str, value: float, place: tuple[int, ...]) -> Batch:
    changed = {key: array.copy() for key, array in scenes.items()}
    changed[name][place] = value
    return changed


def test_a_sound_set_is_valid(tiny_scenes: Path, tmp_path: Path) -> None:
    record = validate(ValidateOptions(tmp_path, SET.name, data_dir=tiny_scenes), logging.getLogger("test"))
    assert (record["verdict"], record["reasons"], record["duplicates"]) == ("VALID", [], 0)
    snr = record["statistics"]["train"]["snr_db"]
    assert -5.0 <= snr["min"] <= snr["median"] <= snr["max"] <= 20.0
    assert json.loads((tmp_path / "manifest.json").read_text())["fingerprint"]["stage"] == "validate"


@pytest.mark.parametrize(
    ("name", "value", "place", "fault"),
    [
        ("snapshots", np.nan, (3, 0, 0), "snapshots is not finite"),
        ("channel", 0.0, (2,), "channel has no power"),
        ("snr_db", 300.0, (1,), "snr_db is not in -60 to 80 dB"),
        ("num_sources", 0, (0,), "num_sources is not in 1 to 5"),
        ("azimuth", 2.0, (4, 0), "azimuth of a source is outside the field of view"),
        ("range_m", 0.1, (4, 0), "range_m of a source is outside the field of view"),
        ("power", -1.0, (4, 0), "power of a source is not a positive number"),
        ("index", 9, (4,), "its number is not its place in the split"),
    ],
)
def test_every_fault_is_named_with_its_scenes(
    scenes: Batch, name: str, value: float, place: tuple[int, ...], fault: str
) -> None:
    assert inspect([scenes], SET).faults == {}
    assert inspect([spoiled(scenes, name, value, place)], SET).faults[fault] == 1


def test_slots_beyond_the_sources_must_be_zero(scenes: Batch) -> None:
    scene = int(np.flatnonzero(scenes["num_sources"] < 5)[0])
    found = inspect([spoiled(scenes, "elevation", 0.1, (scene, 4))], SET)
    assert found.faults == {"a slot beyond num_sources is not zero": 1}


def test_scenes_that_are_there_twice() -> None:
    a, b, c = (bytes([number]) for number in range(3))
    found = duplicates({"train": Findings(hashes=[a, b, a]), "test": Findings(hashes=[c, b])})
    assert found == ["scene 2 of train is scene 0 of train", "scene 1 of test is scene 1 of train"]


def test_skew_of_what_is_served() -> None:
    """The scale of a measurement is none, another SNR is."""
    rng = np.random.default_rng(1)
    training = {"snr_db": rng.uniform(-5, 20, 3000), "peak_db": rng.normal(8, 1, 3000)}
    served = {"snr_db": rng.uniform(-5, 20, 500), "peak_db": rng.normal(8, 1, 500)}
    assert not any(row["skewed"] for row in skew(training, served, 0.2).values())
    low = skew(training, {**served, "snr_db": rng.uniform(-5, 5, 500)}, 0.2)
    assert low["snr_db"]["skewed"]
    assert low["snr_db"]["distance"] == pytest.approx(0.6, abs=0.05)
    assert not low["peak_db"]["skewed"]
    few = skew(training, {"snr_db": np.array([4.0, 6.0])}, 0.2)
    assert not few["snr_db"]["skewed"]  # two measurements prove nothing


def test_figures_do_not_depend_on_the_scale(scenes: Batch) -> None:
    louder = {**scenes, "snapshots": 1e3 * scenes["snapshots"], "channel": 1e-2 * scenes["channel"]}
    for name, values in measurement_figures(scenes).items():
        np.testing.assert_allclose(measurement_figures(louder)[name], values, rtol=1e-3, atol=1e-4)


def test_measurements_unlike_the_training_scenes_are_named(scenes: Batch, tiny_scenes: Path, tmp_path: Path) -> None:
    names = ("snapshots", "ris_codes", "channel")
    measurement = check_measurement({**{name: scenes[name] for name in names}, "snr_db": np.full(SET.train, 70.0)})
    write_measurement(tmp_path / "served.npz", measurement)
    options = ValidateOptions(tmp_path, SET.name, data_dir=tiny_scenes, measurements=tmp_path / "served.npz")
    record = validate(options, logging.getLogger("test"))
    assert record["verdict"] == "INVALID"
    (reason,) = record["reasons"]
    assert reason.startswith("measurements: snr_db is 1.00 from the training scenes, allowed at most ")
