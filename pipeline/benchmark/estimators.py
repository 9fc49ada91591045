"""Creates the estimators of a benchmark by name, once for each installation."""

import functools
from collections.abc import Callable
from pathlib import Path

from models.artifacts import load_weights, moved_to, untrained, with_effort
from models.baselines.back_projection import BackProjectionConfig, back_projection_localizer
from models.baselines.modified_music import ModifiedMusicConfig, is_symmetric, modified_music_localizer
from models.baselines.mvdr_sample import SampleMVDRConfig, mvdr_sample_localizer
from models.baselines.polar_omp import PolarOMPConfig, polar_omp_localizer
from models.baselines.sbl import SBLConfig, sbl_localizer
from models.baselines.sequential_ml import SequentialMLConfig, sequential_ml_localizer
from models.config import LocalizerConfig
from models.effort import EFFORTS, Effort
from models.localizer import Localizer
from models.physics.geometry import Scenario
from models.spectrum_localizer import oracle_localizer
from pipeline.benchmark.cells import Cell
from pipeline.benchmark.names import TRAINED
from pipeline.metrics.estimators import Estimator, chance_estimator, localizer_estimator

_BLIND: dict[str, Callable[[Scenario], Estimator]] = {
    "sequential_ml": sequential_ml_localizer,
    "back_projection": back_projection_localizer,
    "oracle": oracle_localizer,
    "mvdr_sample": mvdr_sample_localizer,
    "polar_omp": polar_omp_localizer,
    "sbl": sbl_localizer,
    "modified_music": modified_music_localizer,
}
_NO_GAIN, _NO_DEPTH = 1e-9, float("inf")  # no threshold: all slots are filled


def _known_number_estimator(name: str, scenario: Scenario, count: int) -> Estimator:
    """An estimator that reports `count` sources; sequential_ml stops earlier if no source increases the likelihood."""
    if name == "sequential_ml":
        return sequential_ml_localizer(_with_slots(scenario, count), SequentialMLConfig(min_llr=_NO_GAIN))
    if name == "back_projection":
        return back_projection_localizer(_with_slots(scenario, count), BackProjectionConfig(depth_db=_NO_DEPTH))
    if name == "mvdr_sample":
        return mvdr_sample_localizer(scenario, SampleMVDRConfig(num_sources=count))
    if name == "polar_omp":
        return polar_omp_localizer(scenario, PolarOMPConfig(num_sources=count))
    if name == "sbl":
        return sbl_localizer(scenario, SBLConfig(num_sources=count))
    return modified_music_localizer(scenario, ModifiedMusicConfig(num_sources=count))


def _with_slots(scenario: Scenario, count: int) -> Scenario:
    """The installation with `count` as the largest number of sources."""
    return Scenario(scenario.array, scenario.field_of_view, scenario.num_antennas, count)


def applies(name: str, cell: Cell) -> bool:
    """Whether an estimator supports the surface of a cell."""
    return not name.startswith("modified_music") or is_symmetric(cell.scenario.array)


class EstimatorCache:
    """Creates estimators on demand and reuses them; `backbone` holds the weights of "ours" and the shape of
    "untrained".
    """

    def __init__(self, backbone: Path) -> None:
        self._backbone = backbone
        self._made = functools.cache(self._make)

    def get(self, name: str, cell: Cell) -> Estimator:
        """The estimator for a cell. "chance" is created anew each time, so that it does not depend on earlier cells."""
        if name == "chance":
            return chance_estimator(cell.scenario)
        return self._made(name, cell.scenario, cell.num_sources if name.endswith("_known") else None)

    def _make(self, name: str, scenario: Scenario, count: int | None) -> Estimator:
        if name in TRAINED:
            weights = moved_to(load_weights(self._backbone), scenario)
            effort: Effort = next((one for one in EFFORTS if name == f"ours_{one}"), "default")
            chosen = untrained(weights) if name == "untrained" else weights
            return localizer_estimator(Localizer(*with_effort(chosen, LocalizerConfig(), effort)))
        if count is not None:
            return _known_number_estimator(name.removesuffix("_known"), scenario, count)
        return _BLIND[name](scenario)
