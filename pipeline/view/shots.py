"""Series of scenes to send to the server: new scenes, moving sources, or the scenes of a file."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from pipeline.metrics.matching import Sources, true_sources
from pipeline.scenes.surfaces import surface_fingerprint
from pipeline.view.motion import draw_motion
from serving.client.measurement import Measurement, check_measurement
from serving.client.measurement_file import MeasurementFile
from tfds_shards.inputs import INPUTS, scene_batch
from tfds_shards.simulator import Moment, Scene, SceneConfig, simulate_scene
from tfds_shards.sources import Sources as Places

_FIRST_FRESH_INDEX = 2_000_000  # beyond any stored split, and beyond the scenes of `locate`


class Shot(NamedTuple):
    """One scene.

    title: its title on the page.
    measurement: measurement with this one scene.
    truth: its true sources, a batch of one; None if unknown.
    surface_sha256: hash of the surface it was simulated for; None if it was not simulated.
    """

    title: str
    measurement: Measurement
    truth: Sources | None = None
    surface_sha256: str | None = None


class Shots(Protocol):
    """A series of scenes."""

    name: str
    """"scenes", "moving" or "file"."""

    def following(self, step_s: float) -> Shot | None:
        """Returns the next scene, `step_s` seconds later; None once at the end, after which the series starts again.
        Raises ValueError if the scene cannot be read."""
        ...


def _shot(title: str, config: SceneConfig, scene: Scene) -> Shot:
    batch = scene_batch([scene], config.phase_bits)
    measurement = check_measurement({name: batch[name] for name in INPUTS})
    return Shot(title, measurement, true_sources(batch), surface_fingerprint(config.scenario.array))


class FreshScenes:
    """An endless series of scenes that are in no data set."""

    name = "scenes"

    def __init__(self, config: SceneConfig) -> None:
        self._config, self._number = config, 0

    def following(self, step_s: float) -> Shot:
        """Returns the next scene; `step_s` has no effect."""
        self._number += 1
        scene = simulate_scene(self._config, "test", _FIRST_FRESH_INDEX + self._number)
        return _shot(f"scene {self._number}", self._config, scene)


class MovingSources:
    """An endless series of one scene, drawn by `number`, with moving sources; channel, codes and SNR stay the same."""

    name = "moving"

    def __init__(self, config: SceneConfig, number: int) -> None:
        self._config, self._index = config, _FIRST_FRESH_INDEX - number
        first = simulate_scene(config, "test", self._index)
        start = Places(*(getattr(first, name)[: first.num_sources].astype(float) for name in Places._fields))
        self._motion = draw_motion(np.random.default_rng(self._index), config.scenario.field_of_view, start)
        self._moment, self._time_s = 0, 0.0

    def following(self, step_s: float) -> Shot:
        """Returns the scene `step_s` seconds later."""
        self._moment += 1
        self._time_s += step_s
        moment = Moment(self._moment, self._motion.at(self._time_s))
        scene = simulate_scene(self._config, "test", self._index, moment)
        return _shot(f"{self._time_s:.1f} s", self._config, scene)


class FileScenes:
    """The scenes of a verified measurement file in order. title: name of the file."""

    name = "file"

    def __init__(self, title: str, file: MeasurementFile) -> None:
        self.title, self.file = title, file
        self._shots = self._all()

    def following(self, step_s: float) -> Shot | None:
        """Returns the next scene of the file; `step_s` has no effect."""
        return next(self._shots)

    def _all(self) -> Iterator[Shot | None]:
        while True:
            for number, measurement in enumerate(self.file.batches(1), start=1):
                yield Shot(f"scene {number} of {len(self.file)}", measurement)
            yield None
