"""Locates radio sources from Python: a localizer in this process, a client of a server, and simulated scenes.

Importing this module does not load TensorFlow; `load_localizer` and `simulate` do (docs/python.md).

Examples:
  >>> import ris_mvdr
  >>> localizer = ris_mvdr.load_localizer()
  >>> for scene in localizer.locate("measurement.npz"):
  ...     print([source.position_m for source in scene.sources])
"""

import dataclasses
import importlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from serving.client.calibration import Calibration, read_calibration
from serving.client.inputs import Locator, Scenes, check_sizes
from serving.client.measurement import INPUTS, Measurement, MeasurementWarning, read_measurement
from serving.client.measurement_file import MeasurementFile
from serving.client.scene import Place, Scene, Source, Truth
from serving.client.sources import located

if TYPE_CHECKING:
    from models.localizer import Localizer as _Model
    from models.physics.geometry import Scenario
    from serving.client import LocalizerClient, ServerError
    from tfds_shards.simulator import Scene as _Drawn

__all__ = ["Localizer", "LocalizerClient", "Measurement", "MeasurementFile", "MeasurementWarning", "Place", "Scene"]
__all__ += ["ServerError", "Simulation", "Source", "Truth", "load_localizer", "read_measurement", "simulate"]

_Made = TypeVar("_Made")


def __getattr__(name: str) -> Any:
    if name not in ("LocalizerClient", "ServerError"):  # these need gRPC
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("serving.client"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


@dataclasses.dataclass(frozen=True, repr=False)
class Simulation(Measurement):
    """Simulated scenes. `locate` takes a simulation as it is, and `save` writes a measurement file.

    The arrays are those of `Measurement`. truth: the true sources, one entry per scene.
    """

    truth: list[Truth]


class Localizer(Locator):
    """A localizer in this process. `load_localizer` makes one; threads may share it.

    The first call of `locate` builds the graph, which takes some ten seconds. A `calibration` is applied to every
    measurement; `weights` says what the weights are, for `repr`.
    """

    def __init__(self, model: "_Model", calibration: Calibration | None = None, weights: str = "") -> None:
        self._model, self._calibration, self._weights = model, calibration, weights

    @property
    def installation(self) -> "Scenario":
        """The surface, base station and field of view that the localizer is made for."""
        return self._model.scenario

    def _check(self, scenes: Scenes) -> None:
        check_sizes(scenes, self.installation.num_antennas, self.installation.array.num_elements, "the installation")

    def _located(self, batch: Measurement) -> list[Scene]:
        told = batch if self._calibration is None else _api(self._calibration.of, batch)
        outputs = self._model.graph(**told.inputs(0, len(told)))
        return located({name: value.numpy() for name, value in outputs.items()})

    def __repr__(self) -> str:
        array, antennas = self.installation.array, self.installation.num_antennas
        calibrated = "" if self._calibration is None else ", calibrated"
        return f"Localizer({array.num_elements} elements, {antennas} antennas, {self._weights}{calibrated})"


def load_localizer(
    installation: str | Path | None = None,
    *,
    effort: Literal["fast", "default", "thorough"] = "default",
    calibration: str | Path | None = None,
    weights: str | Path | None = None,
    untrained: bool = False,
) -> Localizer:
    """Loads a localizer into this process, with the pretrained weights unless told otherwise.

    Args:
      installation: an installation file (docs/installation.md); left out, the default installation.
      effort: how much work the localizer does per scene.
      calibration: a calibration file of this installation (docs/calibrate.md).
      weights: a backbone.keras file; left out, the pretrained weights.
      untrained: use no weights: the classical estimator.

    Raises:
      ValueError: an option or a file is wrong; one line that names it.

    Examples:
      >>> localizer = ris_mvdr.load_localizer(installation="lab.toml", effort="fast")
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no notices of what the machine has
    from models.artifacts import load_weights, moved_to, with_effort
    from models.config import LocalizerConfig
    from models.covariance_estimator.backbone import Backbone
    from models.effort import EFFORTS
    from models.localizer import Localizer as Model
    from models.localizer_weights import LocalizerWeights
    from models.physics.installation import load_installation
    from models.weights import PRETRAINED

    if effort not in EFFORTS:
        raise ValueError(f"effort: expected one of {', '.join(EFFORTS)}, got {effort!r}")
    if untrained and weights is not None:
        raise ValueError(f"untrained: expected either untrained or weights, got both: {weights}")
    path = PRETRAINED if weights is None else Path(weights)
    if not path.is_file():
        raise ValueError(f"weights: expected a backbone.keras file, got {path}, which is not a file")
    scenario = None if installation is None else _api(load_installation, Path(installation))
    applied = None if calibration is None else _api(read_calibration, Path(calibration))
    learned = LocalizerWeights(Backbone()) if untrained else load_weights(path)
    if scenario is not None:
        learned = moved_to(learned, scenario)
    if applied is not None:
        _api(applied.check_surface, dataclasses.asdict(learned.backbone.scenario.array))
    known = "untrained" if untrained else "pretrained" if weights is None else path.name
    return Localizer(Model(*with_effort(learned, LocalizerConfig(), effort)), applied, f"{known}, effort {effort}")


def simulate(
    name: str = "l64_m64", scenes: int = 10, split: str = "test", installation: str | Path | None = None
) -> Simulation:
    """Simulates scenes of a named set, with their true sources.

    Args:
      name: a set, such as l64_m64: 64 snapshots, SNR -5 to 20 dB, one to max_sources sources (docs/conventions.md).
      scenes: number of scenes, the first ones of the split.
      split: train, validation or test.
      installation: an installation file (docs/installation.md); left out, the installation of the set.

    Raises:
      ValueError: there is no such set, split or installation; one line that names it.

    Examples:
      >>> simulated = ris_mvdr.simulate("l64_m64", scenes=10)
      >>> found = localizer.locate(simulated)
      >>> found[0].plot(truth=simulated.truth[0])
      >>> simulated.save("measurement.npz")
    """
    if isinstance(scenes, bool) or not isinstance(scenes, int) or scenes < 1:
        raise ValueError(f"scenes: expected a whole number of at least 1, got {scenes!r}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no notices of what the machine has
    from tfds_shards.inputs import scene_batch
    from tfds_shards.scene_sets import scene_set
    from tfds_shards.simulator import simulate_scene

    config = _api(scene_set, name if installation is None else f"{name}@{installation}", config="name").config
    drawn = [_api(simulate_scene, config, split, number) for number in range(scenes)]
    batch = scene_batch(drawn, config.phase_bits)
    return Simulation(**{name: batch[name] for name in INPUTS}, truth=[_truth(scene) for scene in drawn])


def _truth(scene: "_Drawn") -> Truth:
    azimuth_deg, elevation_deg = np.degrees(scene.azimuth), np.degrees(scene.elevation)
    polar = zip(azimuth_deg, elevation_deg, scene.range_m, strict=True)
    return Truth(tuple(itertools.starmap(Place.at, itertools.islice(polar, scene.num_sources))))


def _api(make: Callable[..., _Made], *arguments: Any, **names: str) -> _Made:
    """Calls `make`. Its errors then name arguments of this module, not options; `names` maps those that differ."""
    try:
        return make(*arguments)
    except ValueError as error:
        field, colon, rest = str(error).removeprefix("--").partition(":")
        raise ValueError(names.get(field, field) + colon + rest) from None
