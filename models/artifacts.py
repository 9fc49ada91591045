"""Weights as files: loaded, moved to another installation, given other settings."""

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
    """The same weights for another installation, whose grid follows it."""
    config = moved_config(weights.backbone.config, weights.backbone.scenario, scenario)
    return weights.with_backbone(Backbone(scenario, config))


def with_settings(weights: LocalizerWeights, settings: Mapping[str, Any]) -> LocalizerWeights:
    """The same weights with other continuous stages: changes to `RefinementConfig`, by field."""
    config = weights.backbone.config
    changed = dataclasses.replace(config, refinement=dataclasses.replace(config.refinement, **settings))
    return weights.with_backbone(Backbone(weights.backbone.scenario, changed))


def with_effort(
    weights: LocalizerWeights, config: LocalizerConfig, effort: Effort
) -> tuple[LocalizerWeights, LocalizerConfig]:
    """The same weights and settings, of the default effort, at another one."""
    refinement = at_effort(weights.backbone.config.refinement, effort)
    config = dataclasses.replace(config, multipath=at_effort(config.multipath, effort))
    return with_settings(weights, vars(refinement)), config


def untrained(like: LocalizerWeights) -> LocalizerWeights:
    """Weights of the same shape and installation that have learned nothing: the classical estimator."""
    correction = ScoreCorrection(like.score_correction.width, name="score_correction")
    return LocalizerWeights(Backbone(like.backbone.scenario, like.backbone.config), correction)


def load_refiner(path: Path) -> SpectrumRefiner:
    """A trained refiner.

    Raises:
      ValueError: there is no such file, or it is not a refiner.
    """
    return _loaded(path, SpectrumRefiner)


def load_weights(path: Path | None) -> LocalizerWeights:
    """The weights in a backbone.keras, or untrained ones.

    Raises:
      ValueError: there is no such file, or it holds something else, or weights of another version.
    """
    if path is None:
        return LocalizerWeights(Backbone())
    return _loaded(path, LocalizerWeights)


def _loaded(path: Path, kind: type[Model]) -> Model:
    try:
        model = keras.models.load_model(path)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected the settings of a {kind.__name__} of this version, got others ({error}): weights of "
            "another version do not load, train them anew"
        ) from error
    if not isinstance(model, kind):
        raise ValueError(f"{path}: expected a {kind.__name__}, got {type(model).__name__}")
    return model
