"""Sets of scenes at an installation: their names, seeds and metadata, built by the stage and by TFDS alike."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from models.physics.geometry import Scenario
from pipeline.confidence.options import ConfidenceOptions
from pipeline.data.building import build_scenes
from pipeline.data.options import DataOptions
from pipeline.evaluate.options import EvaluateOptions
from pipeline.figures.spectrum_plots import range_ticks_m
from pipeline.learnability.options import LearnabilityOptions
from pipeline.metrics.evaluation import MetricsConfig, metrics_config
from pipeline.metrics.matching import Gate
from pipeline.scenes.reading import load_scenes, open_scenes
from pipeline.train.options import TrainOptions
from pipeline.tune.options import TuneOptions
from tests.models.test_installation import INSTALLATIONS
from tfds_shards.ris_snapshots.ris_snapshots_dataset_builder import Builder, RISSnapshotsConfig
from tfds_shards.scene_sets import scene_set
from tfds_shards.simulator import CONFIGS, simulate_scene

FILE = INSTALLATIONS / "28ghz.toml"
SIZES = {"train": 2, "validation": 1, "test": 1}
NAME = "l64_m64_at_37d6fcbf_2_1_1"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("installation")
    build_scenes(DataOptions("l64_m64", **SIZES, installation=FILE, data_dir=directory))
    return directory


def test_a_set_is_named_seeded_and_described_by_its_installation(data_dir: Path) -> None:
    stored = open_scenes(data_dir, f"l64_m64_2_1_1@{FILE}")
    assert stored.directory.parent.name == stored.scene_set.name == NAME
    array = stored.info.metadata["scene_config"]["scenario"]["array"]
    assert (array["num_horizontal"], array["wavelength_m"]) == (16, 0.010707)
    config = stored.scene_set.config
    scene = next(iter(load_scenes(data_dir, f"l64_m64_2_1_1@{FILE}", "train").as_numpy_iterator()))
    assert scene["channel"].shape == (8, 256)
    np.testing.assert_array_equal(scene["snapshots"], simulate_scene(config, "train", 0).snapshots)
    other = dataclasses.replace(config, name="l64_m64")
    assert simulate_scene(other, "train", 0).snr_db != scene["snr_db"]


@pytest.mark.parametrize(
    "options",
    [
        lambda **given: TrainOptions(Path("run"), **given),
        lambda **given: ConfidenceOptions(Path("run"), **given),
        lambda **given: TuneOptions(Path("run"), **given),
        lambda **given: EvaluateOptions(Path("run"), chance=True, **given),
        lambda **given: LearnabilityOptions(Path("run"), **given),
    ],
    ids=["train", "score", "tune", "evaluate", "learnability"],
)
def test_stages_take_the_installation(options) -> None:
    config = options(installation=FILE).config
    names = [config] if isinstance(config, str) else config
    assert names and all(name.endswith(f"@{FILE}") for name in names)


def test_tfds_builds_the_same_set(data_dir: Path, tmp_path: Path) -> None:
    """As `tfds build --config '{"name": "l64_m64", ..., "installation": "28ghz.toml"}'` does."""
    builder = Builder(data_dir=tmp_path, config=RISSnapshotsConfig(name="l64_m64", **SIZES, installation=str(FILE)))
    builder.download_and_prepare()
    assert builder.builder_config.name == NAME
    ours, theirs = (
        tfds.builder_from_directory(directory / "ris_snapshots" / NAME / "1.1.0") for directory in (data_dir, tmp_path)
    )
    for one, other in zip(*(tfds.as_numpy(found.as_dataset("train")) for found in (ours, theirs)), strict=True):
        np.testing.assert_array_equal(one["snapshots"], other["snapshots"])


def test_an_absent_set_names_the_command_with_the_installation(tmp_path: Path) -> None:
    command = f"python -m pipeline.data --config l64_m64 --installation {FILE} --data-dir {tmp_path}"
    with pytest.raises(FileNotFoundError, match=command):
        open_scenes(tmp_path, f"l64_m64@{FILE}")


def test_a_config_is_itself_at_its_own_installation(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text("[array]\nrows = 12\n")
    assert scene_set(f"l64_m64@{path}") == scene_set("l64_m64")
    assert scene_set(f"l64_m64_pattern@{path}").name.startswith("l64_m64_pattern_at_default_")


def test_a_traced_channel_gets_the_antennas_of_the_installation() -> None:
    station = CONFIGS["l64_m64_sight"].at(Scenario(num_antennas=8)).base_station
    assert (station.rows, station.columns) == (2, 4)


def test_metrics_of_the_default_installation_are_the_findings() -> None:
    assert metrics_config(Scenario()) == MetricsConfig()


def test_metrics_follow_the_field_of_view() -> None:
    config = metrics_config(scene_set(f"l64_m64@{FILE}").config.scenario)
    assert config.standard_gate == Gate(5.0, 5.0, (3.0 - 0.2) / 9.5)
    assert config.strict_gate == Gate(2.0, 2.0, 0.25 * config.standard_gate.range_m)
    assert config.range_edges_m == pytest.approx((0.2, 0.5, 1.0, 2.0, 3.0))
    assert config.rmse_scale_m == pytest.approx(5.6 / 9.5)
    assert config.max_error_m == 6.0


def test_range_ticks() -> None:
    assert range_ticks_m(0.5, 10.0) == pytest.approx([0.5, 0.7, 1, 1.5, 2, 3, 5, 10])
    assert range_ticks_m(0.2, 3.0)[0] == pytest.approx(0.2)
