"""Simulates scenes and writes them as TFDS shards: `python -m pipeline.data --help`."""

import dataclasses
import shutil
import sys
import time
from pathlib import Path

import tyro

from pipeline.common.artifacts import Artifact, Fingerprint, alone, state
from pipeline.common.digests import code_version
from pipeline.scenes.reading import StoredScenes, open_scenes, scene_directory
from tfds_shards.ris_snapshots.ris_snapshots_dataset_builder import Builder, encode_scene
from tfds_shards.scene_sets import SceneSet, scene_set
from tfds_shards.simulator import simulate_scene


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Simulates a set of scenes and writes it with the TFDS builder, or finds it already written.

    The size is part of the set's name: --config l64_m64 --train 512 --validation 64 --test 128 is the set
    l64_m64_512_64_128, and that name is what the other stages take as their --config.
    """

    config: str = "l64_m64"
    """Set of scenes: l64_m64 (the default scenario), l64_m64_small (the same, few scenes), l64_m64_legacy,
    l64_m64_rician, l64_random, l64_m64_impaired, l16_m16, l32_m32, l128_m128, or the full name of a set of any size."""
    train: int | None = None
    """Training scenes; left out, the set's own number."""
    validation: int | None = None
    """Validation scenes; left out, the set's own number."""
    test: int | None = None
    """Test scenes; left out, the set's own number."""
    data_dir: Path = Path("runs/data")
    """Where the sets lie."""


def build_scenes(options: DataOptions) -> StoredScenes:
    """Builds the set unless it is already there, and says what it did.

    Raises:
      ValueError: an unknown config, a size that is not positive, or a damaged set or one that other code drew in its
        place.
      Busy: another process builds the set.
      OSError: too little space on the disk.
    """
    wanted = scene_set(options.config, options.train, options.validation, options.test)
    directory = scene_directory(options.data_dir, wanted)
    if not directory.exists():
        with alone(options.data_dir, f".{wanted.name}.lock"):
            if not directory.exists():
                return _built(wanted, directory, options)
    return _reused(wanted, directory, options)


def asked(wanted: SceneSet) -> Fingerprint:
    """What decides a set: its name, which says config and sizes, and the code that draws and writes it."""
    return Fingerprint("data", {"config": wanted.name}, {}, code_version(Builder.__module__))


def is_built(options: DataOptions) -> bool:
    """Whether the set is there, whole and as this code draws it.

    Raises:
      ValueError: an unknown config, or a damaged set or one that other code drew in its place.
    """
    wanted = scene_set(options.config, options.train, options.validation, options.test)
    directory = scene_directory(options.data_dir, wanted)
    if not directory.exists():
        return False
    open_scenes(options.data_dir, wanted.name)
    state(directory, asked(wanted))
    return True


def _reused(wanted: SceneSet, directory: Path, options: DataOptions) -> StoredScenes:
    """The set on disk, whose manifest, if it has one, says that the same code drew it."""
    stored = open_scenes(options.data_dir, wanted.name)
    state(directory, asked(wanted))
    print(f"Reusing {_summary(stored)}")
    return stored


def _built(wanted: SceneSet, directory: Path, options: DataOptions) -> StoredScenes:
    _report_leftovers(directory)
    builder = Builder(data_dir=options.data_dir, config=wanted.name)
    _check_space(builder, wanted, options.data_dir)
    start = time.perf_counter()
    builder.download_and_prepare()
    rate = wanted.num_scenes / (time.perf_counter() - start)
    stored = open_scenes(options.data_dir, wanted.name)
    files = sorted(path.name for path in directory.iterdir() if path.is_file())
    Artifact(directory, asked(wanted), "new").finish(*files)
    print(f"Built {_summary(stored)}, {rate:.0f} scenes/s")
    return stored


def _summary(stored: StoredScenes) -> str:
    sizes = ", ".join(f"{size} {split}" for split, size in stored.scene_set.sizes.items())
    return (
        f"{stored.scene_set.name}: {sizes} scenes in {stored.directory}, {stored.num_bytes / 1e6:.1f} MB, "
        f"{stored.num_bytes / stored.scene_set.num_scenes:.0f} bytes a scene"
    )


def _report_leftovers(directory: Path) -> None:
    """TFDS builds in a folder of its own and renames it at the end; a killed build leaves that folder."""
    for leftover in sorted(directory.parent.glob("incomplete.*")):
        print(f"{leftover} is left of a build that was killed, or belongs to one still running; nothing reads it")


def _check_space(builder: Builder, wanted: SceneSet, data_dir: Path) -> None:
    """Raises OSError before the work rather than at the end of it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    scene = encode_scene(simulate_scene(wanted.config, "train", 0))
    needed = wanted.num_scenes * len(builder.info.features.serialize_example(scene))
    print(f"Building {wanted.name}: {wanted.num_scenes} scenes, about {needed / 1e6:.0f} MB")
    free = shutil.disk_usage(data_dir).free
    if needed > free:
        raise OSError(f"data_dir: {wanted.name} needs {needed / 1e9:.1f} GB, {data_dir} has {free / 1e9:.1f} GB left")


def main() -> None:
    """Command line entry point."""
    options = tyro.cli(DataOptions)
    try:
        build_scenes(options)
    except (ValueError, OSError) as error:
        sys.exit(f"pipeline.data: {error}")


if __name__ == "__main__":
    main()
