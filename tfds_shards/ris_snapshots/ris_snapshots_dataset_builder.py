"""TFDS builder of simulated scenes; run `tfds build --config l64_m64` in this folder, or `python -m pipeline.data`."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from tfds_shards.drawing import Draw, draw
from tfds_shards.scene_sets import DATASET_VERSION, SCENE_SETS, SceneSet, scene_set

# About 55 MB per file; TFDS holds the scenes of a file in memory while it writes the file.
SCENES_PER_SHARD = 2_000


@dataclasses.dataclass(eq=False)
class RISSnapshotsConfig(tfds.core.BuilderConfig):
    """A set of scenes as a TFDS config. On the command line it can have other sizes than the named set:

    tfds build --config '{"name": "l64_m64", "train": 512, "validation": 64, "test": 128}'

    This config renames itself to l64_m64_512_64_128, because TFDS reuses any data set with the name of the config. With
    "installation", the path of a file, the set is simulated for that installation, and its name has a hash of it.

    Raises:
      ValueError: an unknown name, a size that is not a positive integer, or an impossible installation.
    """

    name: str = "l64_m64"
    """A named set, or the full name of a set of another size."""
    train: int | None = None
    """Number of training scenes; default: that of the named set."""
    validation: int | None = None
    """Number of validation scenes; default: that of the named set."""
    test: int | None = None
    """Number of test scenes; default: that of the named set."""
    installation: str | None = None
    """An installation file; default: the installation of the named set."""

    @classmethod
    def of(cls, name: str, wanted: SceneSet) -> "RISSnapshotsConfig":
        """Returns the config with the sizes of a set, and its name; NAME@FILE for another installation."""
        return cls(name=name, train=wanted.train, validation=wanted.validation, test=wanted.test)

    def __post_init__(self) -> None:
        name = self.name if self.installation is None else f"{self.name}@{self.installation}"
        self.scene_set = scene_set(name, self.train, self.validation, self.test)
        self.name = self.scene_set.name
        self.train, self.validation, self.test = self.scene_set.sizes.values()
        sizes = ", ".join(f"{size} {split}" for split, size in self.scene_set.sizes.items())
        self.description = f"Scene config {self.scene_set.config.name}: {sizes} scenes."


class Builder(tfds.core.ShardBasedBuilder):
    """Writes a set of scenes in the order of their numbers.

    draw: the function that simulates them; the one of `drawing_in` uses several processes.
    """

    draw: Draw = staticmethod(draw)
    VERSION = tfds.core.Version(DATASET_VERSION)
    RELEASE_NOTES: ClassVar = {
        "1.1.0": (
            "More sets: amplitudes and element patterns, halls, traced channels, transmit powers, symbols, sources "
            "that no one asks for; sets of installation files. The sets of 1.0.0 are the same to the last bit."
        ),
        "1.0.0": "First release: snapshots, channel, phase codes, sources; no covariance is stored.",
    }
    BUILDER_CONFIGS: ClassVar = [RISSnapshotsConfig(name=name) for name in SCENE_SETS]
    DEFAULT_BUILDER_CONFIG_NAME = "l64_m64"

    @property
    def scene_set(self) -> SceneSet:
        """The set that this builder writes."""
        return self.builder_config.scene_set

    def _create_builder_config(
        self, builder_config: RISSnapshotsConfig | str | None, version: str | tfds.core.Version | None
    ) -> RISSnapshotsConfig:
        """Also accepts the full name of a set of any size; TFDS itself only knows the named sets."""
        name = builder_config.name if isinstance(builder_config, RISSnapshotsConfig) else builder_config
        if name is None or ":" in name or name in self.builder_configs:
            return super()._create_builder_config(name, version)
        return builder_config if isinstance(builder_config, RISSnapshotsConfig) else RISSnapshotsConfig(name=name)

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.scene_set.config
        num_snapshots, num_antennas = config.num_snapshots, config.scenario.num_antennas
        num_elements, max_sources = config.scenario.array.num_elements, config.scenario.max_sources
        of_sources = functools.partial(tfds.features.Tensor, shape=(max_sources,), dtype=np.float32)
        array = functools.partial(tfds.features.Tensor, encoding=tfds.features.Encoding.BYTES)
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "snapshots": array(
                        shape=(num_snapshots, num_antennas, 2), dtype=np.float32, doc="y, real and imaginary part"
                    ),
                    "channel": array(
                        shape=(num_antennas, num_elements, 2),
                        dtype=np.float32,
                        doc="H as given to the estimator, real and imaginary part",
                    ),
                    "code_phase_index": tfds.features.Tensor(
                        shape=(num_snapshots, num_elements),
                        dtype=np.uint8,
                        encoding=tfds.features.Encoding.ZLIB,
                        doc=f"codes are exp(2j pi index / {2**config.phase_bits})",
                    ),
                    "snr_db": tfds.features.Scalar(dtype=np.float32, doc="SNR as given to the estimator, dB"),
                    "num_sources": tfds.features.Scalar(dtype=np.int32, doc="K"),
                    "azimuth": of_sources(doc="radians, zero from num_sources on"),
                    "elevation": of_sources(doc="radians, zero from num_sources on"),
                    "range": of_sources(doc="metres, zero from num_sources on"),
                    "power": of_sources(
                        doc="p_k, received at the centre along the direct path, zero from num_sources on"
                    ),
                    "index": tfds.features.Scalar(dtype=np.int64, doc="number of the scene in its split"),
                }
            ),
            metadata=tfds.core.MetadataDict(scene_config=config.settings(), sizes=self.scene_set.sizes),
            disable_shuffling=True,
        )

    def _download_and_prepare(
        self, dl_manager: tfds.download.DownloadManager, download_config: tfds.download.DownloadConfig | None = None
    ) -> None:
        _refuse_inert_options(download_config or tfds.download.DownloadConfig())
        super()._download_and_prepare(dl_manager, download_config)

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Iterator[tuple[int, dict[str, Any]]]]]]:
        del dl_manager
        progress = _Progress(self.scene_set.name, self.scene_set.num_scenes)
        return {
            split: [
                functools.partial(
                    self._generate_shard, split, range(first, min(first + SCENES_PER_SHARD, size)), progress
                )
                for first in range(0, size, SCENES_PER_SHARD)
            ]
            for split, size in self.scene_set.sizes.items()
        }

    def _generate_shard(
        self, split: str, indices: range, progress: Callable[[], None]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, scene in zip(indices, self.draw(self.scene_set.config, split, indices), strict=True):
            yield index, scene
            progress()


class _Progress:
    """A progress line that counts scenes. Silent after pickling, with which Beam sends shards to other processes."""

    def __init__(self, name: str, total: int) -> None:
        interval_s = 1.0 if sys.stderr.isatty() else 10.0
        self.line = tqdm(total=total, desc=name, unit=" scenes", mininterval=interval_s)

    def __call__(self) -> None:
        self.line.update()
        if self.line.n == self.line.total:
            self.line.close()

    def __reduce__(self) -> tuple[Callable[[], Callable[[], None]], tuple[()]]:
        return _silence, ()


def _silence() -> Callable[[], None]:
    return _nothing


def _nothing() -> None:
    return None


def _refuse_inert_options(download_config: tfds.download.DownloadConfig) -> None:
    """Raises ValueError for TFDS options that have no effect here, because the sizes are part of the config."""
    default = tfds.download.DownloadConfig()
    for option in ("max_examples_per_split", "num_shards", "min_shard_size", "max_shard_size"):
        if getattr(download_config, option) != getattr(default, option):
            raise ValueError(
                f"{option}: not an option of ris_snapshots, whose sizes are part of the config: "
                """--config '{"name": "l64_m64", "train": 512, "validation": 64, "test": 128}'"""
            )
