"""How much a model does for a scene: three settings of the same weights on the curve of F1 against time.

Light, so that options can be read without TensorFlow. What is switched off at the default effort stays off.
"""

import dataclasses
from typing import Literal, TypeVar

from models.covariance_estimator.config import RefinementConfig
from models.multipath.config import MultipathConfig

Effort = Literal["fast", "default", "thorough"]
EFFORTS: tuple[Effort, ...] = ("fast", "default", "thorough")

_AT_MOST = {
    RefinementConfig: {"additions": 2, "settling_steps": 0},
    MultipathConfig: {"rounds": 2},
}
_AT_LEAST = {
    RefinementConfig: {"steps": 8, "additions": 12, "addition_steps": 6, "settling_steps": 8, "candidates": 12},
    MultipathConfig: {"rounds": 8},
}

Settings = TypeVar("Settings", RefinementConfig, MultipathConfig)


def at_effort(settings: Settings, effort: Effort) -> Settings:
    """The off-grid refinement, or the search for reflections, at an effort.

    Args:
      settings: those of the default effort.
      effort: which one.
    """
    kind = type(settings)
    if effort == "fast":
        limits = {name: min(value, getattr(settings, name)) for name, value in _AT_MOST[kind].items()}
    elif effort == "thorough":
        on = {name: getattr(settings, name) for name in _AT_LEAST[kind] if getattr(settings, name) > 0}
        limits = {name: max(value, _AT_LEAST[kind][name]) for name, value in on.items()}
    else:
        return settings
    return dataclasses.replace(settings, **limits)
