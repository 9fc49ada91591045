"""A cell, one value of a suite's axis: scenes by number, drawn on the fly, as the batches an estimator gets."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from models.baselines.crb import scene_bounds
from models.physics.geometry import RISArray, Scenario
from tfds_shards.inputs import scene_batch
from tfds_shards.simulator import Scene, SceneConfig, simulate_scene

_SEED_STRIDE = 1_000_000  # scenes of one seed; the first ones of seed 0 are those of the stored sets
_SPLIT = "test"


@dataclasses.dataclass(frozen=True)
class Cell:
    """Which scenes, and what an estimator is told of them.

    Scenes are those of the config's own counter: cells that differ in one setting share all other draws.
    """

    label: str
    """The axis value in words."""
    config: SceneConfig
    """How scenes are drawn."""
    scenario: Scenario
    """What the estimator is told; its field of view may be wider than the scenes'."""
    value: float | None = None
    """The axis value; None where it is no number."""
    num_sources: int | None = None
    """Only scenes with so many sources; None takes all."""
    separation_beams: tuple[float, float] | None = None
    """Only scenes of two sources so far apart, low to below high; see `separation_beams`."""

    def holds(self, scene: Scene) -> bool:
        """Whether a scene is one of the cell's."""
        if self.num_sources is not None and scene.num_sources != self.num_sources:
            return False
        if self.separation_beams is None:
            return True
        low, high = self.separation_beams
        return low <= separation_beams(scene, self.scenario.array) < high


def separation_beams(scene: Scene, array: RISArray) -> float:
    """Distance of a scene's first two sources in (sin azimuth, sin elevation), in beam widths of `RISArray.resolution`;
    NaN where there are not two."""
    if scene.num_sources < 2:
        return float("nan")
    sines = np.sin([scene.azimuth[:2], scene.elevation[:2]])
    return float(np.hypot(*(np.diff(sines)[:, 0] / array.resolution[:2])))


def cell_scenes(cell: Cell, seed: int) -> Iterator[Scene]:
    """The cell's scenes, in the order of their numbers.

    Raises:
      ValueError: the numbers of this seed are used up.
    """
    for number in range(_SEED_STRIDE):
        scene = simulate_scene(cell.config, _SPLIT, seed * _SEED_STRIDE + number)
        if cell.holds(scene):
            yield scene
    raise ValueError(f"{cell.label}: expected more scenes, got all {_SEED_STRIDE} that seed {seed} has")


def cell_batches(cell: Cell, num_scenes: int, batch_size: int, seed: int) -> list[dict[str, np.ndarray]]:
    """The first scenes of a cell; with bound_m, the Cramer-Rao bound in metres, where the model is as told."""
    drawn = cell_scenes(cell, seed)
    batches = []
    for first in range(0, num_scenes, batch_size):
        scenes = [next(drawn) for _ in range(min(batch_size, num_scenes - first))]
        batches.append(scene_batch(scenes, cell.config.phase_bits))
        if cell.config.is_as_told:
            batches[-1]["bound_m"] = scene_bounds(batches[-1], cell.scenario.array).error_m
    return batches
