"""Weights as files: loaded, moved to another installation, given other settings."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import keras

from models.covariance_estimator.backbone import Backbone, moved_config
from models.physics.geometry import Scenario
from models.spectrum.refiner import SpectrumRefiner

Model = TypeVar("Model", bound=keras.Model)


def moved_to(backbone: Backbone, scenario: Scenario) -> Backbone:
    """The same weights for another installation, whose grid follows it."""
    moved = Backbone(scenario, moved_config(backbone.config, backbone.scenario, scenario))
    moved.set_weights(backbone.get_weights())
    return moved


def with_settings(backbone: Backbone, settings: Mapping[str, Any]) -> Backbone:
    """The same weights with other continuous stages: changes to `ContinuousConfig`, by field."""
    continuous = dataclasses.replace(backbone.config.continuous, **settings)
    changed = Backbone(backbone.scenario, dataclasses.replace(backbone.config, continuous=continuous))
    changed.set_weights(backbone.get_weights())
    return changed


def load_refiner(path: Path) -> SpectrumRefiner:
    """A trained refiner.

    Raises:
      ValueError: there is no such file, or it is not a refiner.
    """
    return _loaded(path, SpectrumRefiner)


def load_backbone(path: Path | None) -> Backbone:
    """A trained backbone, or the untrained one.

    Raises:
      ValueError: there is no such file, or it is not a backbone.
    """
    if path is None:
        return Backbone()
    return _loaded(path, Backbone)


def _loaded(path: Path, kind: type[Model]) -> Model:
    model = keras.models.load_model(path)
    if not isinstance(model, kind):
        raise ValueError(f"{path}: expected a {kind.__name__}, got {type(model).__name__}")
    return model
