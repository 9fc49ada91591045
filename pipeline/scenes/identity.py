"""Hashes of sets of scenes on disk, for the fingerprints of stages."""

from collections.abc import Sequence
from pathlib import Path

from models.physics.geometry import Scenario
from pipeline.common.artifacts import SCENES, Input, output_digest
from pipeline.common.digests import json_digest
from pipeline.scenes.reading import open_scenes, scene_directory
from tfds_shards.scene_sets import scene_set


def scenes_digest(data_dir: Path | str, config: str) -> str:
    """Hash of the record files of a set, opened as by `open_scenes`. Stored hashes are reused for files unchanged
    since `pipeline.data` wrote them."""
    records = sorted(open_scenes(data_dir, config).directory.glob("*.tfrecord*"))
    return json_digest({path.name: output_digest(path) for path in records})


def scenes_inputs(data_dir: Path | str, configs: Sequence[str]) -> dict[str, Input]:
    """Inputs for the fingerprint of a stage: a hash and a path for each set; errors are those of `open_scenes`."""
    return {
        SCENES + config.partition("@")[0]: Input(
            scenes_digest(data_dir, config), scene_directory(data_dir, scene_set(config))
        )
        for config in configs
    }


def common_scenario(configs: Sequence[str]) -> Scenario:
    """The installation that all the sets share; ValueError if they have different ones."""
    scenarios = {scene_set(config).config.scenario for config in configs}
    if len(scenarios) > 1:
        raise ValueError(f"--config: expected sets of one scenario, got {', '.join(configs)}")
    return scenarios.pop()
