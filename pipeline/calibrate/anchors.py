"""Sources whose places are known: they settle what scenes alone hardly tell, a ramp of phase or a curvature."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from models.checked import AtLeast0, Positive, checked, read_json
from models.physics.geometry import RISArray

_ANGLE_DEVIATION = math.radians(0.05)
_INVERSE_RANGE_DEVIATION = 1e-3  # 1/m: a centimetre at three metres


@dataclasses.dataclass(frozen=True)
class Anchors:
    """Known places in one scene, [A, 3] float64: azimuth, elevation (radians), inverse range (1/m)."""

    places: np.ndarray

    def pin(self, parameters: np.ndarray, precision: np.ndarray, array: RISArray) -> None:
        """Puts the source that looks nearest to each known place there, for good.

        Args:
          parameters: [K, 4] of the scene's sources, changed in place.
          precision: [4K + 1] of what is known of them, changed in place.
          array: the surface, whose beam width tells what near is.
        """
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
    """Known places by number of the scene, counted through all input files in order.

    Args:
      path: JSON, a list of {"scene": 3, "position_m": [[x, y, z], ...]}.
      num_scenes: in all input files.

    Raises:
      ValueError: no such file, or one that says something else.
    """
    found: list[_Entry] = read_json(path, list[_Entry])
    for entry in found:
        if entry.scene >= num_scenes:
            raise ValueError(f"{path}: scene: expected 0 to {num_scenes - 1}, got {entry.scene}")
    return {
        entry.scene: Anchors(np.array([_place(np.array(position)) for position in entry.position_m]).reshape(-1, 3))
        for entry in found
    }
