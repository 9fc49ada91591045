"""Anchors: sources at known positions. They resolve phase ramps and curvatures, which other scenes barely determine."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from models.checked import AtLeast0, Positive, checked, read_json
from models.physics.geometry import RISArray

_ANGLE_DEVIATION = math.radians(0.05)
_INVERSE_RANGE_DEVIATION = 1e-3  # 1/m, which is 1 cm at a range of 3 m


@dataclasses.dataclass(frozen=True)
class Anchors:
    """Known source positions in one scene, [A, 3] float64: azimuth (rad), elevation (rad), inverse range (1/m)."""

    places: np.ndarray

    def pin(self, parameters: np.ndarray, precision: np.ndarray, array: RISArray) -> None:
        """Moves the source nearest to each known position there. Distances are in beam widths of the array. Changes
        the parameters of the scene's sources, [K, 4], and their prior precision, [4K + 1], in place."""
        count = len(parameters)
        free = list(range(count))
        beam = array.wavelength_m / (array.spacing_m * math.sqrt(array.num_elements))
        for place in self.places[:count]:
            distance = np.linalg.norm((parameters[free, :3] - place) / [beam, beam, 1.0], axis=-1)
            source = free.pop(int(np.argmin(distance)))
            parameters[source, :3] = place
            for index, deviation in enumerate((_ANGLE_DEVIATION, _ANGLE_DEVIATION, _INVERSE_RANGE_DEVIATION)):
                precision[index * count + source] = deviation**-2


NO_ANCHORS = Anchors(np.zeros((0, 3)))


@checked(frozen=True)
class _Entry:
    scene: AtLeast0
    position_m: tuple[tuple[Positive, float, float], ...]
    """In front of the surface, x > 0."""


def _place(position_m: np.ndarray) -> np.ndarray:
    x, y, z = position_m
    range_m = float(np.linalg.norm(position_m))
    return np.array([math.atan2(y, x), math.asin(z / range_m), 1.0 / range_m])


def read_anchors(path: Path, num_scenes: int) -> Mapping[int, Anchors]:
    """Reads known source positions from JSON, a list of {"scene": 3, "position_m": [[x, y, z], ...]}, by scene
    number; scenes are counted through all input files in order."""
    found: list[_Entry] = read_json(path, list[_Entry])
    for entry in found:
        if entry.scene >= num_scenes:
            raise ValueError(f"{path}: scene: expected 0 to {num_scenes - 1}, got {entry.scene}")
    return {
        entry.scene: Anchors(np.array([_place(np.array(position)) for position in entry.position_m]).reshape(-1, 3))
        for entry in found
    }
