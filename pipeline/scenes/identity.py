"""What a set of scenes on disk is, as a hash that stages record."""

from collections.abc import Sequence
from pathlib import Path

from models.physics.geometry import Scenario
from pipeline.common.artifacts import SCENES, Input, output_digest
from pipeline.common.digests import json_digest
from pipeline.scenes.reading import open_scenes, scene_directory
from tfds_shards.scene_sets import scene_set


def scenes_digest(data_dir: Path | str, config: str) -> str:
    """Hash of a set's records; of files unchanged since `python -m pipeline.data` wrote them it is known.

    Raises:
      FileNotFoundError, ValueError: as `open_scenes`.
    """
    records = sorted(open_scenes(data_dir, config).directory.glob("*.tfrecord*"))
    return json_digest({path.name: output_digest(path) for path in records})


def scenes_inputs(data_dir: Path | str, configs: Sequence[str]) -> dict[str, Input]:
    """The sets a stage reads, as inputs of its fingerprint.

    Raises:
      FileNotFoundError, ValueError: as `open_scenes`.
    """
    return {
        SCENES + config.partition("@")[0]: Input(
            scenes_digest(data_dir, config), scene_directory(data_dir, scene_set(config))
        )
        for config in configs
    }


def common_scenario(configs: Sequence[str]) -> Scenario:
    """The installation of the sets.

    Raises:
      ValueError: they have several.
    """
    scenarios = {scene_set(config).config.scenario for config in configs}
    if len(scenarios) > 1:
        raise ValueError(f"--config: expected sets of one scenario, got {', '.join(configs)}")
    return scenarios.pop()
