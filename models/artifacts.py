"""Weights: loading from files, converting to another installation, changing settings."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import keras

from models.config import LocalizerConfig
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.grids import moved_config
from models.decision.scoring import ScoreCorrection
from models.effort import Effort, at_effort
from models.localizer_weights import LocalizerWeights
from models.physics.geometry import Scenario
from models.spectrum.refiner import SpectrumRefiner

Model = TypeVar("Model", bound=keras.Model)


def moved_to(weights: LocalizerWeights, scenario: Scenario) -> LocalizerWeights:
    """The same weights for another installation. The grid is adapted to it."""
    config = moved_config(weights.backbone.config, weights.backbone.scenario, scenario)
    return weights.with_backbone(Backbone(scenario, config))


def with_settings(weights: LocalizerWeights, settings: Mapping[str, Any]) -> LocalizerWeights:
    """The same weights with changed fields of `RefinementConfig`."""
    config = weights.backbone.config
    changed = dataclasses.replace(config, refinement=dataclasses.replace(config.refinement, **settings))
    return weights.with_backbone(Backbone(weights.backbone.scenario, changed))


def with_effort(
    weights: LocalizerWeights, config: LocalizerConfig, effort: Effort
) -> tuple[LocalizerWeights, LocalizerConfig]:
    """Weights and settings of the default effort, converted to another effort."""
    refinement = at_effort(weights.backbone.config.refinement, effort)
    config = dataclasses.replace(config, multipath=at_effort(config.multipath, effort))
    return with_settings(weights, vars(refinement)), config


def untrained(like: LocalizerWeights) -> LocalizerWeights:
    """Untrained weights of the same shape and installation. They give the classical estimator."""
    correction = ScoreCorrection(like.score_correction.width, name="score_correction")
    return LocalizerWeights(Backbone(like.backbone.scenario, like.backbone.config), correction)


def load_refiner(path: Path) -> SpectrumRefiner:
    """Loads a trained refiner. Raises ValueError as `load_weights`."""
    return _loaded(path, SpectrumRefiner)


def load_weights(path: Path | None) -> LocalizerWeights:
    """Loads the weights in a `backbone.keras`. None gives untrained weights for the default installation.

    Raises:
      ValueError: the file is missing, contains something else, or was saved by another version.
    """
    if path is None:
        return LocalizerWeights(Backbone())
    return _loaded(path, LocalizerWeights)


def _loaded(path: Path, kind: type[Model]) -> Model:
    try:
        model = keras.models.load_model(path)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected the settings of a {kind.__name__} of this version, got others ({error}); weights of "
            "another version cannot be loaded, train them again"
        ) from error
    if not isinstance(model, kind):
        raise ValueError(f"{path}: expected a {kind.__name__}, got {type(model).__name__}")
    return model
