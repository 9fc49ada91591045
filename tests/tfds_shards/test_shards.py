"""The TFDS builder and the stage that runs it: what is written is what was simulated, whole, and of the size asked."""

import dataclasses
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.data import __main__ as data
from pipeline.data.building import build_scenes
from pipeline.data.options import DataOptions
from pipeline.scenes.reading import load_scenes, open_scenes, scene_directory
from tests.rigs.killed_at import killed_process, killed_stage
from tfds_shards.drawing import encode_scene
from tfds_shards.ris_snapshots import ris_snapshots_dataset_builder as builder_module
from tfds_shards.ris_snapshots.ris_snapshots_dataset_builder import Builder, RISSnapshotsConfig
from tfds_shards.scene_sets import READABLE_VERSIONS, SCENE_SETS, SceneSet, scene_set
from tfds_shards.simulator import CONFIGS, SPLITS, Scene, simulate_scene

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def assert_same_scene(stored: dict[str, np.ndarray], scene: Scene) -> None:
    """A dictionary of TFDS against the scene it was made of, bit for bit."""
    assert set(stored) == set(encode_scene(scene))
    for name, value in encode_scene(scene).items():
        np.testing.assert_array_equal(stored[name], value, err_msg=name)


# tfds build


@pytest.fixture(scope="module")
def built_by_tfds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The data folder and the output of a `tfds build` of 7 / 3 / 2 scenes from inside the builder's folder."""
    data_dir = tmp_path_factory.mktemp("tfds")
    kwargs = {"name": "l64_m64_legacy", "train": 7, "validation": 3, "test": 2}
    result = subprocess.run(
        [Path(sys.executable).with_name("tfds"), "build", "--config", json.dumps(kwargs), "--data_dir", data_dir],
        cwd=ROOT / "tfds_shards" / "ris_snapshots",
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return data_dir, result.stdout + result.stderr


@pytest.mark.extended
def test_tfds_build_writes_what_the_simulator_draws(built_by_tfds: tuple[Path, str]) -> None:
    """Read back by TFDS alone, without this project's builder or reader."""
    directory = built_by_tfds[0] / "ris_snapshots" / "l64_m64_legacy_7_3_2" / "1.1.0"
    builder = tfds.builder_from_directory(directory)
    for split, size in (("train", 7), ("validation", 3), ("test", 2)):
        stored = list(tfds.as_numpy(builder.as_dataset(split)))
        assert len(stored) == size
        for index, scene in enumerate(stored):
            assert_same_scene(scene, simulate_scene(CONFIGS["l64_m64_legacy"], split, index))


@pytest.mark.extended
def test_tfds_build_shows_progress_with_rate(built_by_tfds: tuple[Path, str]) -> None:
    assert "l64_m64_legacy_7_3_2: 100%" in built_by_tfds[1]
    assert "12/12" in built_by_tfds[1] and " scenes/s" in built_by_tfds[1]


@pytest.mark.extended
def test_what_tfds_built_is_read_by_the_pipeline(built_by_tfds: tuple[Path, str]) -> None:
    scenes = list(load_scenes(built_by_tfds[0], "l64_m64_legacy_7_3_2", "test").as_numpy_iterator())
    assert [scene["index"] for scene in scenes] == [0, 1]


def test_metadata_is_complete_and_valid() -> None:
    metadata = Builder.get_metadata()
    assert "real and imaginary part" in metadata.description
    assert "@article" in metadata.citation
    assert metadata.tags and set(metadata.tags) <= set(tfds.core.dataset_metadata.valid_tags())
    assert next(iter(Builder.RELEASE_NOTES)) == str(Builder.VERSION)
    assert tuple(Builder.RELEASE_NOTES) == READABLE_VERSIONS
    for name in SCENE_SETS:
        assert f"`{name}`" in metadata.description


def test_no_covariance_is_stored(tmp_path: Path) -> None:
    features = Builder(data_dir=tmp_path, config="l64_m64").info.features
    scene = simulate_scene(CONFIGS["l64_m64"], "train", 0)
    assert len(features.serialize_example(encode_scene(scene))) < 35_000
    assert not any(feature.shape[-3:-1] == (144, 144) for feature in features.values())


def test_options_that_would_do_nothing_are_refused(tmp_path: Path) -> None:
    builder = Builder(data_dir=tmp_path, config="l64_m64_small")
    for option in ({"max_examples_per_split": 5}, {"num_shards": 3}):
        with pytest.raises(ValueError, match=f"^{next(iter(option))}: not an option"):
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**option))
    with pytest.raises(FileNotFoundError):
        open_scenes(tmp_path, "l64_m64_small")


# Sizes and names


def test_default_sizes() -> None:
    assert SCENE_SETS["l64_m64"].sizes == {"train": 100_000, "validation": 10_000, "test": 2_000}
    assert SCENE_SETS["l64_m64_small"].config is CONFIGS["l64_m64"]
    assert set(SCENE_SETS) == {*CONFIGS, "l64_m64_small"}


@pytest.mark.parametrize("name", [*SCENE_SETS, "l64_m64_512_64_128", "l64_m64_legacy_1_1_1"])
def test_a_name_and_a_set_are_one(name: str) -> None:
    assert scene_set(name).name == name


def test_every_way_to_ask_for_a_size_leads_to_one_set() -> None:
    sizes = {"train": 1_000, "validation": 200, "test": 500}
    assert scene_set("l64_m64", **sizes) == SCENE_SETS["l64_m64_small"]
    assert RISSnapshotsConfig(name="l64_m64", **sizes).name == "l64_m64_small"
    assert scene_set("l64_m64_small", train=50).name == "l64_m64_50_200_500"
    for config in ("l64_m64_50_200_500", RISSnapshotsConfig(name="l64_m64_small", train=50)):
        assert Builder(config=config).builder_config.name == "l64_m64_50_200_500"
    for config in (None, "l64_m64", RISSnapshotsConfig(name="l64_m64")):
        assert Builder(config=config).builder_config.name == "l64_m64"


@pytest.mark.parametrize("name", ["l32", "l64_m64_512", "l64_m64_a_b_c", "other_1_2_3"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^config: expected one of .* got '{name}'"):
        scene_set(name)


@pytest.mark.parametrize("size", [0, -3, 1.5, True, "9"])
def test_bad_sizes_are_refused(size: object) -> None:
    with pytest.raises(ValueError, match=r"^SceneSet\.validation: expected (1 to 4294967296|a whole number), got "):
        scene_set("l64_m64", validation=size)


# The stage


def build(data_dir: Path, train: int, validation: int = 3, test: int = 5, config: str = "l64_m64") -> str:
    return build_scenes(DataOptions(config, train, validation, test, data_dir=data_dir)).scene_set.name


def test_sizes_do_not_shadow_each_other(tmp_path: Path) -> None:
    """The trap: TFDS reuses what lies under a name, so 5 scenes would pass for a full set."""
    small, large = build(tmp_path, train=5), build(tmp_path, train=9)
    assert small != large
    scenes = {name: list(load_scenes(tmp_path, name, "train").as_numpy_iterator()) for name in (small, large)}
    assert [len(scenes[name]) for name in (small, large)] == [5, 9]
    for short, long in zip(scenes[small], scenes[large], strict=False):
        for key, value in short.items():
            np.testing.assert_array_equal(value, long[key])


def test_several_files_keep_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder_module, "SCENES_PER_SHARD", 4)
    stored = open_scenes(tmp_path, build(tmp_path, train=11))
    assert [split.num_shards for split in (stored.info.splits[name] for name in SPLITS)] == [3, 1, 2]
    for index, scene in enumerate(load_scenes(tmp_path, stored.scene_set.name, "train").as_numpy_iterator()):
        np.testing.assert_array_equal(scene["snapshots"], simulate_scene(CONFIGS["l64_m64"], "train", index).snapshots)


def assert_same_set(name: str, *data_dirs: Path) -> None:
    """Scene by scene, to the last bit. Files are not: a record's fields are in another order in every process."""
    for split in SPLITS:
        both = (load_scenes(data_dir, name, split).as_numpy_iterator() for data_dir in data_dirs)
        for one, other in zip(*both, strict=True):
            for key, value in one.items():
                np.testing.assert_array_equal(value, other[key])


@pytest.mark.extended
def test_a_build_by_beam_is_the_same_set(tmp_path: Path) -> None:
    """Beam pickles the shards' closures; the progress line in them made it fail."""
    name = build(tmp_path / "plain", train=4)
    options = PipelineOptions(direct_num_workers=2, direct_running_mode="multi_threading")
    by_beam = tfds.download.DownloadConfig(beam_runner="DirectRunner", beam_options=options)
    Builder(data_dir=tmp_path / "beam", config=name).download_and_prepare(download_config=by_beam)
    assert_same_set(name, tmp_path / "plain", tmp_path / "beam")


@pytest.mark.extended
def test_a_build_by_several_processes_is_the_same_set(tmp_path: Path) -> None:
    """As a command, since they import by the path of the process that starts them."""
    name = build(tmp_path / "one", train=120)
    command = [sys.executable, "-m", "pipeline.data", "--config", name, "--data-dir", str(tmp_path / "two")]
    done = subprocess.run([*command, "--processes", "2"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_same_set(name, tmp_path / "one", tmp_path / "two")


@pytest.mark.extended
def test_processes_that_draw_end_with_a_build_that_is_killed(tmp_path: Path) -> None:
    """They hold its standard output open, so that this comes back only when they are gone."""
    written = (f"{builder_module.__name__}:_Progress.__call__", 60)
    options = ["--config", "l64_m64_400_1_1", "--data-dir", tmp_path, "--processes", "2"]
    assert "Building l64_m64_400_1_1: 402 scenes" in killed_process(*written, "data", *options)


def test_second_build_reuses_the_first_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    name = build(tmp_path, train=4)
    directory = scene_directory(tmp_path, scene_set(name))
    written = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    first = caplog.text
    assert f"Built {name}: 4 train, 3 validation, 5 test scenes in {directory}" in first
    assert "bytes per scene" in first and "scenes/s" in first
    build(tmp_path, train=4)
    assert f"Reusing {name}: 4 train" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == written


def test_too_little_space_is_said_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"needs .* GB"):
        build(tmp_path, train=2**32)


@pytest.mark.extended
def test_killed_build_leaves_nothing_that_reads_as_complete(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sizes = ["--config", "l64_m64", "--train", "60", "--validation", "1", "--test", "1"]
    written = ("tfds_shards.drawing:encode_scene", 40)
    killed_stage(*written, "data", *sizes, "--data-dir", tmp_path)
    assert any(path.stat().st_size for path in tmp_path.rglob("*.tfrecord-*"))
    name = "l64_m64_60_1_1"
    with pytest.raises(FileNotFoundError, match=f"no scenes {name}"):
        open_scenes(tmp_path, name)
    assert build(tmp_path, train=60, validation=1, test=1) == name
    assert "incomplete." in caplog.text
    assert len(list(load_scenes(tmp_path, name, "train"))) == 60


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    def run(*options: str) -> None:
        monkeypatch.setattr(sys, "argv", ["pipeline.data", *options])
        data.main()

    return run


def test_command_line(tmp_path: Path, command_line) -> None:
    sizes = ["--train", "2", "--validation", "1", "--test", "1"]
    command_line("--config", "l64_random", *sizes, "--data-dir", str(tmp_path))
    scenes = list(load_scenes(tmp_path, "l64_random_2_1_1", "train").as_numpy_iterator())
    assert len(scenes) == 2
    assert not np.array_equal(scenes[0]["ris_codes"], scenes[1]["ris_codes"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config", "l65"], "config: expected"),
        (["--train", "0"], "--train: expected 1 or more, got 0"),
        (["--test", "-1"], "--test: expected 1 or more, got -1"),
        (["--processes", "0"], "--processes: expected 1 or more, got 0"),
    ],
)
def test_bad_command_line_is_one_clear_line(tmp_path: Path, refused, options: list[str], message: str) -> None:
    assert refused("data", *options, "--data-dir", tmp_path).startswith(message)


# Damage


def test_absent_set_names_the_command_that_builds_it(tmp_path: Path) -> None:
    command = f"python -m pipeline.data --config l64_m64_small --data-dir {tmp_path}"
    with pytest.raises(FileNotFoundError, match=command):
        load_scenes(tmp_path, "l64_m64_small", "test")


def test_missing_and_truncated_files_are_named(tmp_path: Path) -> None:
    name = build(tmp_path, train=3)
    (shard,) = scene_directory(tmp_path, scene_set(name)).glob("*train*")
    content = shard.read_bytes()
    shard.write_bytes(content[:-100])
    with pytest.raises(ValueError, match=f"expected {len(content)} bytes of train records, got {len(content) - 100}"):
        open_scenes(tmp_path, name)
    shard.unlink()
    with pytest.raises(ValueError, match=f"{shard.name} is missing"):
        build(tmp_path, train=3)


def test_scenes_of_other_settings_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config whose settings change under the same name must not read its old scenes."""
    name = build(tmp_path, train=3)
    changed = dataclasses.replace(CONFIGS["l64_m64"], snr_db=(0.0, 20.0))
    monkeypatch.setitem(CONFIGS, "l64_m64", changed)
    with pytest.raises(ValueError, match="drawn with other settings than config l64_m64 has now"):
        open_scenes(tmp_path, name)


def test_sets_of_the_version_before_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """1.1.0 added sets and changed none, so a folder of 1.0.0 is reused rather than built again."""
    caplog.set_level(logging.INFO)
    name = build(tmp_path, train=3)
    directory = scene_directory(tmp_path, scene_set(name))
    older = directory.with_name("1.0.0")
    directory.rename(older)
    (older / "manifest.json").unlink()  # sets of before have none
    info = older / "dataset_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"version": "1.0.0"}))
    build(tmp_path, train=3)
    assert f"Reusing {name}: 3 train, 3 validation, 5 test scenes in {older}" in caplog.text
    assert len(list(load_scenes(tmp_path, name, "train"))) == 3


def test_a_set_under_a_wrong_name_is_not_read(tmp_path: Path) -> None:
    directory = scene_directory(tmp_path, scene_set(build(tmp_path, train=3)))
    other = scene_directory(tmp_path, SceneSet(CONFIGS["l64_m64"], train=4, validation=3, test=5))
    other.parent.mkdir()
    directory.rename(other)
    with pytest.raises(ValueError, match=r"expected .*'train': 4.* got .*'train': 3"):
        open_scenes(tmp_path, "l64_m64_4_3_5")
