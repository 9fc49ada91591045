"""Reading scenes: in order for evaluation, and shuffled in an order that a killed training can continue."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline.data.building import build_scenes
from pipeline.data.options import DataOptions
from pipeline.scenes.reading import load_scenes, shuffled_batches
from tfds_shards.codebook import code_phasors
from tfds_shards.ris_snapshots import ris_snapshots_dataset_builder as builder_module
from tfds_shards.simulator import CONFIGS, simulate_scene

NAME = "l64_random_40_3_5"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 / 3 / 5 scenes; the training scenes are in four files."""
    directory = tmp_path_factory.mktemp("scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder_module, "SCENES_PER_SHARD", 11)
        build_scenes(DataOptions("l64_random", 40, 3, 5, data_dir=directory))
    return directory


def indices(batches: tf.data.Dataset) -> list[list[int]]:
    return [batch["index"].tolist() for batch in batches.as_numpy_iterator()]


def flat(batches: list[list[int]]) -> list[int]:
    return [index for batch in batches for index in batch]


# In order


def test_single_scenes(data_dir: Path) -> None:
    dataset = load_scenes(data_dir, NAME, "test")
    assert int(dataset.cardinality()) == 5
    specs = {key: (tuple(spec.shape), spec.dtype) for key, spec in dataset.element_spec.items()}
    assert specs == {
        "snapshots": ((64, 16), tf.complex64),
        "ris_codes": ((64, 144), tf.complex64),
        "channel": ((16, 144), tf.complex64),
        "snr_db": ((), tf.float32),
        "num_sources": ((), tf.int32),
        "azimuth": ((5,), tf.float32),
        "elevation": ((5,), tf.float32),
        "range_m": ((5,), tf.float32),
        "power": ((5,), tf.float32),
        "index": ((), tf.int64),
    }
    for index, stored in enumerate(dataset.as_numpy_iterator()):
        scene = simulate_scene(CONFIGS["l64_random"], "test", index)
        for name in ("snapshots", "channel", "azimuth", "elevation", "range_m", "power", "num_sources", "index"):
            np.testing.assert_array_equal(stored[name], getattr(scene, name), err_msg=name)
        assert stored["snr_db"] == np.float32(scene.snr_db)
        np.testing.assert_allclose(stored["ris_codes"], code_phasors(scene.code_phase_index, 3), atol=1e-7)


def test_batches_hold_the_same_scenes_in_order(data_dir: Path) -> None:
    dataset = load_scenes(data_dir, NAME, "train", batch_size=16)
    assert int(dataset.cardinality()) == 3
    assert indices(dataset) == [list(range(16)), list(range(16, 32)), list(range(32, 40))]
    single = list(load_scenes(data_dir, NAME, "train").as_numpy_iterator())
    for batch in dataset.as_numpy_iterator():
        for row, index in enumerate(batch["index"]):
            for name, values in batch.items():
                np.testing.assert_array_equal(values[row], single[index][name])


def test_take(data_dir: Path) -> None:
    assert indices(load_scenes(data_dir, NAME, "train", take=13, batch_size=10)) == [list(range(10)), [10, 11, 12]]
    assert len(list(load_scenes(data_dir, NAME, "train", take=13))) == 13


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, "split: expected one of train, validation, test, got 'dev'"),
        ({"split": "test", "take": 6}, "take: expected 1 to 5, the number of test scenes in l64_random_40_3_5, got 6"),
        ({"split": "test", "take": 0}, "take: expected 1 to 5"),
        ({"split": "test", "batch_size": 0}, "batch_size: expected at least 1, got 0"),
    ],
)
def test_bad_options_are_named(data_dir: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        load_scenes(data_dir, NAME, **options)


# Shuffled


def test_every_pass_has_every_scene_once_in_a_new_order(data_dir: Path) -> None:
    drawn = flat(indices(shuffled_batches(data_dir, NAME, 8, seed=3).take(15)))
    passes = [drawn[:40], drawn[40:80], drawn[80:]]
    for one_pass in passes:
        assert sorted(one_pass) == list(range(40))
    assert passes[0] != passes[1] != passes[2] != list(range(40))


@pytest.mark.extended
def test_shuffle_mixes_files(data_dir: Path) -> None:
    """Files are shuffled, too: early positions hold scenes of all files."""
    first = [flat(indices(shuffled_batches(data_dir, NAME, 5, seed=seed).take(1))) for seed in range(10)]
    assert np.mean(first) == pytest.approx(19.5, abs=4)
    assert len({tuple(batch) for batch in first}) == 10


@pytest.mark.parametrize("done", [1, 4, 5, 7, 23])
def test_resumed_training_sees_the_batches_it_would_have_seen(data_dir: Path, done: int) -> None:
    """Batches of 9 do not divide 40 scenes, so passes start inside batches."""
    whole = indices(shuffled_batches(data_dir, NAME, 9, seed=1).take(30))
    resumed = indices(shuffled_batches(data_dir, NAME, 9, seed=1, skip_batches=done).take(30 - done))
    assert resumed == whole[done:]
    assert all(len(batch) == 9 for batch in whole)


def test_order_depends_on_the_seed_and_not_on_the_random_state(data_dir: Path) -> None:
    def order(seed: int) -> list[list[int]]:
        return indices(shuffled_batches(data_dir, NAME, 8, seed=seed).take(5))

    first = order(1)
    tf.random.uniform([3])
    assert order(1) == first
    assert order(2) != first


def test_batches_are_whole_scenes(data_dir: Path) -> None:
    batch = next(shuffled_batches(data_dir, NAME, 6, seed=5, take=10).as_numpy_iterator())
    assert max(batch["index"]) < 10
    for row, index in enumerate(batch["index"]):
        scene = simulate_scene(CONFIGS["l64_random"], "train", int(index))
        np.testing.assert_array_equal(batch["snapshots"][row], scene.snapshots)
        np.testing.assert_array_equal(batch["range_m"][row], scene.range_m)


def test_small_buffer_still_reads_everything(data_dir: Path) -> None:
    drawn = flat(indices(shuffled_batches(data_dir, NAME, 10, seed=2, shuffle_buffer=3).take(4)))
    assert sorted(drawn) == list(range(40))


def test_shuffled_data_has_no_end(data_dir: Path) -> None:
    assert int(shuffled_batches(data_dir, NAME, 8, seed=0).cardinality()) == tf.data.INFINITE_CARDINALITY


@pytest.mark.parametrize(("option", "value"), [("batch_size", 0), ("skip_batches", -1), ("shuffle_buffer", 0)])
def test_bad_shuffle_options_are_named(data_dir: Path, option: str, value: int) -> None:
    options = {"batch_size": 4, "seed": 0, option: value}
    with pytest.raises(ValueError, match=f"^{option}: expected at least"):
        shuffled_batches(data_dir, NAME, **options)
