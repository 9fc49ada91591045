"""Cells of a benchmark: a cell holds the scenes for one value of the property that a suite varies."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from models.baselines.crb import scene_bounds
from models.physics.geometry import RISArray, Scenario
from tfds_shards.inputs import scene_batch
from tfds_shards.simulator import Scene, SceneConfig, simulate_scene

_SEED_STRIDE = 1_000_000  # scenes per seed; those of seed 0 begin with the scenes of the stored test sets
_SPLIT = "test"


@dataclasses.dataclass(frozen=True)
class Cell:
    """The scenes of a cell and the installation given to the estimators.

    Scenes are seeded by their number in the config, so cells that differ in one setting share all other random draws.
    """

    label: str
    """Value of the varied property, as text."""
    config: SceneConfig
    """Distribution of the scenes."""
    scenario: Scenario
    """Installation given to the estimators; its field of view may be wider than that of the scenes."""
    value: float | None = None
    """Value of the varied property; None if it is not a number."""
    num_sources: int | None = None
    """Only scenes with this number of sources; None for all."""
    separation_beams: tuple[float, float] | None = None
    """Only scenes of two sources with a separation in [low, high), in beam widths; see `separation_beams`."""

    def holds(self, scene: Scene) -> bool:
        """Whether a scene belongs to the cell."""
        if self.num_sources is not None and scene.num_sources != self.num_sources:
            return False
        if self.separation_beams is None:
            return True
        low, high = self.separation_beams
        return low <= separation_beams(scene, self.scenario.array) < high


def separation_beams(scene: Scene, array: RISArray) -> float:
    """Distance of two sources in (sin azimuth, sin elevation), in units of `RISArray.resolution`; NaN if there are
    fewer.
    """
    if scene.num_sources < 2:
        return float("nan")
    sines = np.sin([scene.azimuth[:2], scene.elevation[:2]])
    return float(np.hypot(*(np.diff(sines)[:, 0] / array.resolution[:2])))


def cell_scenes(cell: Cell, seed: int) -> Iterator[Scene]:
    """Simulates the scenes of a cell in the order of their numbers; ValueError if the seed has no further scenes."""
    for number in range(_SEED_STRIDE):
        scene = simulate_scene(cell.config, _SPLIT, seed * _SEED_STRIDE + number)
        if cell.holds(scene):
            yield scene
    raise ValueError(f"{cell.label}: expected more scenes, got only the {_SEED_STRIDE} of seed {seed}")


def cell_batches(cell: Cell, num_scenes: int, batch_size: int, seed: int) -> list[dict[str, np.ndarray]]:
    """The first scenes of a cell as batches.

    bound_m, the Cramer-Rao bound of the position error in metres, is included if the estimators are given the true
    channel and surface.
    """
    drawn = cell_scenes(cell, seed)
    batches = []
    for first in range(0, num_scenes, batch_size):
        scenes = [next(drawn) for _ in range(min(batch_size, num_scenes - first))]
        batches.append(scene_batch(scenes, cell.config.phase_bits))
        if cell.config.is_as_told:
            batches[-1]["bound_m"] = scene_bounds(batches[-1], cell.scenario.array).error_m
    return batches
