"""Reads scenes that `python -m pipeline.data` or `tfds build` wrote (docs/conventions.md: On disk)."""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tfds_shards.codebook import code_phasors
from tfds_shards.scene_sets import DATASET_NAME, READABLE_VERSIONS, SceneSet, scene_set
from tfds_shards.simulator import SPLITS

_DECODE_BATCH = 32
# Pass number p over the scenes is shuffled with seed * stride + p, so that different seeds share no pass.
_SEED_STRIDE = 1_000_003
_SEED_LIMIT = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class StoredScenes:
    """A complete set of scenes on disk: its configuration and sizes, folder, and the metadata of TFDS."""

    scene_set: SceneSet
    directory: Path
    info: tfds.core.DatasetInfo

    @property
    def num_bytes(self) -> int:
        """Size of the record files in bytes."""
        return sum(split.num_bytes for split in self.info.splits.values())


def scene_directory(data_dir: Path | str, wanted: SceneSet) -> Path:
    """Folder in which TFDS stores the set, whether or not it exists yet."""
    versions = [Path(data_dir) / DATASET_NAME / wanted.name / version for version in READABLE_VERSIONS]
    return next((directory for directory in versions if directory.exists()), versions[0])


def open_scenes(data_dir: Path | str, config: str | SceneSet) -> StoredScenes:
    """Opens a set on disk, given itself or its name, such as "l64_m64", "l64_m64_512_64_128" or "l64_m64@site.toml".

    It must be complete and have the settings of its configuration.

    Raises:
      FileNotFoundError: the set does not exist; the message gives the command that builds it.
      ValueError: the config is unknown, files are missing or truncated, or the scenes have other settings.
    """
    wanted = scene_set(config)
    directory = scene_directory(data_dir, wanted)
    if not (directory / "dataset_info.json").is_file():
        raise FileNotFoundError(
            f"no scenes {wanted.name} in {data_dir}: build them with "
            f"python -m pipeline.data {_options(config, wanted)} --data-dir {data_dir}"
        )
    info = tfds.builder_from_directory(directory).info
    _check_contents(info, wanted, directory)
    _check_files(info, directory)
    return StoredScenes(wanted, directory, info)


def _options(config: str | SceneSet, wanted: SceneSet) -> str:
    name, at, installation = config.partition("@") if isinstance(config, str) else ("", "", "")
    return f"--config {name} --installation {installation}" if at else f"--config {wanted.name}"


def _check_contents(info: tfds.core.DatasetInfo, wanted: SceneSet, directory: Path) -> None:
    sizes = {name: split.num_examples for name, split in info.splits.items()}
    if sizes != wanted.sizes:
        raise ValueError(f"{directory}: expected {wanted.sizes} scenes, got {sizes}; delete it and build again")
    if info.metadata.get("scene_config") != json.loads(json.dumps(wanted.config.settings())):
        raise ValueError(
            f"{directory}: its scenes were drawn with other settings than config {wanted.config.name} has now; "
            "delete it and build again"
        )


def _check_files(info: tfds.core.DatasetInfo, directory: Path) -> None:
    for name, split in info.splits.items():
        missing = [path.name for path in split.filepaths if not path.exists()]
        if missing:
            raise ValueError(f"{directory}: {missing[0]} is missing; delete the folder and build again")
        num_bytes = sum(path.stat().length for path in split.filepaths)
        if num_bytes != split.num_bytes:
            raise ValueError(
                f"{directory}: expected {int(split.num_bytes)} bytes of {name} records, got {num_bytes}; "
                "delete the folder and build again"
            )


def load_scenes(
    data_dir: Path | str, config: str, split: str, *, take: int | None = None, batch_size: int | None = None
) -> tf.data.Dataset:
    """Reads a split once, in the order of the scene numbers.

    Args:
      data_dir, config: as for `open_scenes`.
      split: "train", "validation" or "test".
      take: number of scenes, the first ones; None for all.
      batch_size: scenes per batch, the last batch may be smaller; None for single scenes.

    Returns:
      A data set of dictionaries. Batches have a leading axis B.
        snapshots: y, [L, M] complex64.
        ris_codes: c, [L, N] complex64.
        channel: H, [M, N] complex64.
        snr_db: [] float32, dB.
        num_sources: K, [] int32.
        azimuth, elevation: [K_max] float32, radians. These and the next two are zero from num_sources on.
        range_m: [K_max] float32, metres.
        power: p_k, [K_max] float32.
        index: [] int64, number of the scene.

    Raises:
      FileNotFoundError, ValueError: as `open_scenes`; or the split is unknown or has fewer scenes than `take`.
    """
    if batch_size is not None:
        _check_least("batch_size", batch_size, 1)
    stored = open_scenes(data_dir, config)
    num_scenes, size = _num_scenes(stored, split, take), batch_size or _DECODE_BATCH
    records = tf.data.TFRecordDataset([str(path) for path in stored.info.splits[split].filepaths]).take(num_scenes)
    batches = _decoded(records.batch(size), -(-num_scenes // size), stored)
    if batch_size is None:
        return batches.unbatch().apply(tf.data.experimental.assert_cardinality(num_scenes))
    return batches


def shuffled_batches(
    data_dir: Path | str,
    config: str,
    batch_size: int,
    *,
    seed: int,
    split: str = "train",
    take: int | None = None,
    skip_batches: int = 0,
    shuffle_buffer: int = 4_096,
) -> tf.data.Dataset:
    """Endless shuffled batches for training, in an order that an interrupted run can continue.

    Each pass over the scenes has a new order: files are shuffled first, then records within a buffer. The order depends
    only on `seed`, the other arguments and TensorFlow's global seed. So the batches after `skip_batches` are those of
    a run that was never interrupted. Skipping reads the raw records of at most one pass and decodes none.

    Args:
      data_dir, config, split, take: as for `load_scenes`.
      batch_size: B; every batch is full.
      seed: seed of the order.
      skip_batches: number of batches to skip.
      shuffle_buffer: scenes in the shuffle buffer, about 28 kB each.

    Returns:
      An infinite data set of the dictionaries of `load_scenes`, with a leading axis B.

    Raises:
      FileNotFoundError, ValueError: as `load_scenes`.
    """
    _check_least("batch_size", batch_size, 1)
    _check_least("skip_batches", skip_batches, 0)
    _check_least("shuffle_buffer", shuffle_buffer, 1)
    stored = open_scenes(data_dir, config)
    num_scenes = _num_scenes(stored, split, take)
    first_pass, skip_records = divmod(skip_batches * batch_size, num_scenes)
    files = stored.info.splits[f"{split}[:{num_scenes}]"].file_instructions
    paths, lengths = [str(file.filename) for file in files], tf.constant([file.take for file in files], tf.int64)

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        pass_seed = (seed * _SEED_STRIDE % _SEED_LIMIT + number) % _SEED_LIMIT
        shuffled_files = tf.data.Dataset.from_tensor_slices((paths, lengths)).shuffle(len(paths), seed=pass_seed)
        records = shuffled_files.flat_map(lambda path, length: tf.data.TFRecordDataset(path).take(length))
        return records.shuffle(shuffle_buffer, seed=pass_seed)

    records = tf.data.Dataset.counter(first_pass).flat_map(one_pass).skip(skip_records)
    return _decoded(records.batch(batch_size, drop_remainder=True), tf.data.INFINITE_CARDINALITY, stored)


def _check_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value!r}")


def _num_scenes(stored: StoredScenes, split: str, take: int | None) -> int:
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    size = stored.scene_set.sizes[split]
    if take is None:
        return size
    if not 1 <= take <= size:
        raise ValueError(
            f"take: expected 1 to {size}, the number of {split} scenes in {stored.scene_set.name}, got {take!r}"
        )
    return take


def _decoded(batches: tf.data.Dataset, num_batches: int, stored: StoredScenes) -> tf.data.Dataset:
    decode = functools.partial(_decode, features=stored.info.features, phase_bits=stored.scene_set.config.phase_bits)
    decoded = batches.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return decoded.apply(tf.data.experimental.assert_cardinality(num_batches)).prefetch(tf.data.AUTOTUNE)


def _decode(serialized: tf.Tensor, features: tfds.features.FeaturesDict, phase_bits: int) -> dict[str, tf.Tensor]:
    """Decodes serialised records [B] to a batch of scenes."""
    parsed = tf.io.parse_example(serialized, features.tf_example_spec)

    def complex_array(key: str) -> tf.Tensor:
        parts = tf.io.decode_raw(parsed[key], tf.float32)
        return tf.bitcast(tf.reshape(parts, [-1, *features[key].shape]), tf.complex64)

    phase_index = tf.io.decode_raw(tf.io.decode_compressed(parsed["code_phase_index"], "ZLIB"), tf.uint8)
    phase_index = tf.reshape(phase_index, [-1, *features["code_phase_index"].shape])
    phasors = tf.constant(code_phasors(np.arange(2**phase_bits), phase_bits), tf.complex64)
    return {
        "snapshots": complex_array("snapshots"),
        "ris_codes": tf.gather(phasors, tf.cast(phase_index, tf.int32)),
        "channel": complex_array("channel"),
        "snr_db": parsed["snr_db"],
        "num_sources": tf.cast(parsed["num_sources"], tf.int32),
        "azimuth": parsed["azimuth"],
        "elevation": parsed["elevation"],
        "range_m": parsed["range"],
        "power": parsed["power"],
        "index": parsed["index"],
    }
