"""Moving sources: every coordinate moves at constant speed between the limits of the field of view, back and forth."""

import dataclasses

import numpy as np

from models.physics.geometry import FieldOfView
from tfds_shards.sources import Sources

_CROSSING_S = (30.0, 90.0)


@dataclasses.dataclass(frozen=True)
class Motion:
    """Positions of K sources over time, which start at time 0 inside the region `view` and stay in it. rate: speed
    of azimuth, elevation and range in spans of the region per second, [3, K]; negative towards the lower limit."""

    view: FieldOfView
    start: Sources
    rate: np.ndarray

    def at(self, time_s: float) -> Sources:
        """The sources at `time_s`, in seconds."""
        limits = np.array([self.view.azimuth, self.view.elevation, self.view.range_m])
        low, span = limits[:, :1], np.ptp(limits, axis=1, keepdims=True)
        way = (np.stack(self.start) - low) / span + self.rate * time_s
        return Sources(*(low + span * (1.0 - np.abs(1.0 - way % 2.0))))


def draw_motion(rng: np.random.Generator, view: FieldOfView, start: Sources) -> Motion:
    """Draws a motion: each coordinate crosses the region in 30 to 90 s, drawn uniformly, in a random direction."""
    shape = (3, start.range_m.size)
    return Motion(view, start, rng.choice([-1.0, 1.0], shape) / rng.uniform(*_CROSSING_S, shape))
