"""Creates the estimators of a benchmark by name, once for each installation."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

_BLIND: dict[str, Callable[..., Estimator]] = {
    "sequential_ml": sequential_ml_localizer,
    "back_projection": back_projection_localizer,
    "oracle": oracle_localizer,
    "mvdr_sample": mvdr_sample_localizer,
    "polar_omp": polar_omp_localizer,
    "sbl": sbl_localizer,
    "modified_music": modified_music_localizer,
}
_FILLS_SLOTS = {  # no threshold: all slots are filled
    "sequential_ml": SequentialMLConfig(min_llr=1e-9),
    "back_projection": BackProjectionConfig(depth_db=float("inf")),
}
_TAKES_NUMBER: dict[str, Callable[..., Any]] = {
    "mvdr_sample": SampleMVDRConfig,
    "polar_omp": PolarOMPConfig,
    "sbl": SBLConfig,
    "modified_music": ModifiedMusicConfig,
}


def _known_number_estimator(name: str, scenario: Scenario, count: int) -> Estimator:
    """An estimator that reports `count` sources; sequential_ml stops earlier if no source increases the likelihood."""
    if name in _FILLS_SLOTS:
        return _BLIND[name](dataclasses.replace(scenario, max_sources=count), _FILLS_SLOTS[name])
    return _BLIND[name](scenario, _TAKES_NUMBER[name](num_sources=count))


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
