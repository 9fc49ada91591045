"""Effort: three settings for the same weights that trade time for F1.

Steps that are disabled at the default effort stay disabled. Imports no TensorFlow, so that options are read quickly.
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
    """Converts settings of the default effort to another effort."""
    kind = type(settings)
    if effort == "fast":
        limits = {name: min(value, getattr(settings, name)) for name, value in _AT_MOST[kind].items()}
    elif effort == "thorough":
        on = {name: getattr(settings, name) for name in _AT_LEAST[kind] if getattr(settings, name) > 0}
        limits = {name: max(value, _AT_LEAST[kind][name]) for name, value in on.items()}
    else:
        return settings
    return dataclasses.replace(settings, **limits)
