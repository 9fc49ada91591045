"""Sets of scenes: a config, the size of each split, and a name that identifies both.

The size is part of the name, so a set on disk cannot be mistaken for one of another size. All sets of a config number
their scenes in the same way: a smaller set is a prefix of a larger one.
"""

import dataclasses
import re
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from models.checked import checked
from models.physics.installation import load_installation
from tfds_shards.simulator import CONFIGS, SPLITS, SceneConfig

DATASET_NAME = "ris_snapshots"
DATASET_VERSION = "1.1.0"
READABLE_VERSIONS = (DATASET_VERSION, "1.0.0")
"""Newest first. Version 1.1.0 added sets; the sets of 1.0.0 are the same in both."""


Size = Annotated[int, Interval(ge=1, le=2**32)]


@checked(frozen=True)
class SceneSet:
    """A config and the number of scenes in each split."""

    config: SceneConfig
    train: Size = 100_000
    validation: Size = 10_000
    test: Size = 2_000

    @property
    def sizes(self) -> dict[str, int]:
        """Number of scenes by split, in the order in which they are written."""
        return {split: getattr(self, split) for split in SPLITS}

    @property
    def num_scenes(self) -> int:
        """Number of scenes in all splits together."""
        return sum(self.sizes.values())

    @property
    def name(self) -> str:
        """Name of the directory: a key of `SCENE_SETS`, or CONFIG_TRAIN_VALIDATION_TEST for any other size."""
        for name, known in SCENE_SETS.items():
            if known == self:
                return name
        return "_".join([self.config.name, *map(str, self.sizes.values())])


SCENE_SETS: dict[str, SceneSet] = {
    **{name: SceneSet(config) for name, config in CONFIGS.items()},
    "l64_m64_small": SceneSet(CONFIGS["l64_m64"], train=1_000, validation=200, test=500),
}


def scene_set(
    name: str | SceneSet, train: int | None = None, validation: int | None = None, test: int | None = None
) -> SceneSet:
    """Returns a named set, optionally with other sizes or for another installation.

    Args:
      name: a key of `SCENE_SETS`, or the name of a `SceneSet` of any size. NAME@FILE is the same set for the
        installation that the file describes. A `SceneSet` is used as it is.
      train, validation, test: number of scenes of a split; None keeps that of the named set.

    Raises:
      ValueError: an unknown name, a size that is not a positive integer, or an impossible installation.
    """
    named = name if isinstance(name, SceneSet) else _named_set(name)
    return SceneSet(
        named.config,
        train=named.train if train is None else train,
        validation=named.validation if validation is None else validation,
        test=named.test if test is None else test,
    )


def _named_set(name: str) -> SceneSet:
    name, at, installation = name.partition("@")
    if at:
        named = _named_set(name)
        return dataclasses.replace(named, config=named.config.at(load_installation(Path(installation))))
    if name in SCENE_SETS:
        return SCENE_SETS[name]
    sized = re.fullmatch(r"(.+)_(\d+)_(\d+)_(\d+)", name)
    if sized and sized[1] in CONFIGS:
        return SceneSet(CONFIGS[sized[1]], *(int(size) for size in sized.groups()[1:]))
    raise ValueError(
        f"config: expected one of {', '.join(SCENE_SETS)}, or CONFIG_TRAIN_VALIDATION_TEST as in l64_m64_512_64_128, "
        f"got {name!r}"
    )
