"""Builds sets of scenes as TFDS shards, or reuses existing ones."""

import contextlib
import io
import logging
import os
import shutil
import time
from pathlib import Path

from pipeline.common.artifacts import Artifact, Fingerprint, folder_lock, state
from pipeline.common.digests import code_version
from pipeline.data.options import DataOptions
from pipeline.scenes.reading import StoredScenes, open_scenes, scene_directory
from tfds_shards.drawing import drawing_in, encode_scene
from tfds_shards.ris_snapshots.ris_snapshots_dataset_builder import Builder, RISSnapshotsConfig
from tfds_shards.scene_sets import SceneSet, scene_set
from tfds_shards.simulator import simulate_scene

_MANY_SCENES = 10_000  # takes half a minute to draw; processes take some seconds to start


def build_scenes(options: DataOptions, logger: logging.Logger = logging.getLogger(__name__)) -> StoredScenes:
    """Builds the set unless it already exists, and logs what it did. Raises ValueError if the existing set is
    damaged or was drawn by other code, `Busy` if another process builds it, OSError if the disk has too little
    space."""
    wanted = scene_set(options.config, options.train, options.validation, options.test)
    directory = scene_directory(options.data_dir, wanted)
    if not directory.exists():
        with folder_lock(options.data_dir, f".{wanted.name}.lock"):
            if not directory.exists():
                return _built(wanted, directory, options, logger)
    check_built(options)
    stored = open_scenes(options.data_dir, wanted)
    logger.info(f"Reusing {_summary(stored)}")
    return stored


def expected_fingerprint(wanted: SceneSet) -> Fingerprint:
    """Everything that determines a set: its name, with config and sizes, and the code that draws and writes it."""
    return Fingerprint("data", {"config": wanted.name}, {}, code_version(Builder.__module__))


def check_built(options: DataOptions) -> bool:
    """Whether the set exists. ValueError if it is damaged or was drawn by other code."""
    wanted = scene_set(options.config, options.train, options.validation, options.test)
    directory = scene_directory(options.data_dir, wanted)
    if not directory.exists():
        return False
    open_scenes(options.data_dir, wanted)
    if state(directory, expected_fingerprint(wanted)) == "begun":
        raise ValueError(f"{directory}: its files are not those that were written; delete the folder and build again")
    return True


def _built(wanted: SceneSet, directory: Path, options: DataOptions, logger: logging.Logger) -> StoredScenes:
    for leftover in sorted(directory.parent.glob("incomplete.*")):  # TFDS renames its temporary folder at the end
        logger.info(f"{leftover} is from an interrupted build, or from one still running; nothing reads it")
    builder = Builder(data_dir=options.data_dir, config=RISSnapshotsConfig.of(options.config, wanted))
    _check_space(builder, wanted, options.data_dir, logger)
    start = time.perf_counter()
    default = os.cpu_count() or 1 if wanted.num_scenes >= _MANY_SCENES else 1
    with contextlib.ExitStack() as stack:
        if (processes := options.processes or default) > 1:
            builder.draw = stack.enter_context(drawing_in(processes))
        output = stack.enter_context(contextlib.redirect_stdout(io.StringIO()))  # TFDS prints messages on downloads
        builder.download_and_prepare()
    logger.debug(output.getvalue().strip())
    rate = wanted.num_scenes / (time.perf_counter() - start)
    stored = open_scenes(options.data_dir, wanted)
    files = sorted(path.name for path in directory.iterdir() if path.is_file())
    Artifact(directory, expected_fingerprint(wanted), "new").finish(*files)
    logger.info(f"Built {_summary(stored)}, {rate:.0f} scenes/s")
    return stored


def _summary(stored: StoredScenes) -> str:
    sizes = ", ".join(f"{size} {split}" for split, size in stored.scene_set.sizes.items())
    return (
        f"{stored.scene_set.name}: {sizes} scenes in {stored.directory}, {stored.num_bytes / 1e6:.1f} MB, "
        f"{stored.num_bytes / stored.scene_set.num_scenes:.0f} bytes per scene"
    )


def _check_space(builder: Builder, wanted: SceneSet, data_dir: Path, logger: logging.Logger) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    scene = encode_scene(simulate_scene(wanted.config, "train", 0))
    needed = wanted.num_scenes * len(builder.info.features.serialize_example(scene))
    logger.info(f"Building {wanted.name}: {wanted.num_scenes} scenes, about {needed / 1e6:.0f} MB")
    free = shutil.disk_usage(data_dir).free
    if needed > free:
        raise OSError(f"data_dir: {wanted.name} needs {needed / 1e9:.1f} GB, {data_dir} has {free / 1e9:.1f} GB left")
