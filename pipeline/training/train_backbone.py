"""Trains the backbone on the shards, the whole localizer judging every epoch."""

import logging
from typing import Any

import keras

from models.artifacts import load_weights, moved_to
from models.config import LocalizerConfig
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.grids import moved_config
from models.localizer import Localizer
from models.localizer_weights import LocalizerWeights
from pipeline.evaluation.estimators import localizer_estimator
from pipeline.train import BEST_MODEL, TrainOptions
from pipeline.training.backbone_training import BackboneTraining
from pipeline.training.fitting import Progress, common_scenario, fit, optimizer, validate


def prepare(options: TrainOptions) -> tuple[Localizer, BackboneTraining]:
    """Seeds everything; the localizer as training starts, and the compiled model that trains its backbone.

    Raises:
      ValueError: sets of different scenarios, or --initial weights that do not fit.
    """
    keras.utils.set_random_seed(options.seed)
    scenario = common_scenario(options.config)
    if options.initial is None:
        initial = LocalizerWeights(Backbone(config=options.backbone))
    else:
        initial = load_weights(options.initial)
    weights = moved_to(initial, scenario)
    if options.initial is not None and options.hyperparameters is not None:
        backbone = Backbone(scenario, moved_config(options.backbone, initial.backbone.scenario, scenario))
        if [weight.shape for weight in weights.backbone.weights] != [weight.shape for weight in backbone.weights]:
            raise ValueError("--initial: expected weights of the shape the hyperparameters ask for, got another one")
        weights = weights.with_backbone(backbone)
    localizer = Localizer(weights, LocalizerConfig(shrinkage=options.shrinkage))
    model = BackboneTraining(localizer.backbone, options.losses, options.shrinkage)
    model.compile(optimizer=optimizer(options), jit_compile=False)
    return localizer, model


def backbone_progress(localizer: Localizer, options: TrainOptions, logger: logging.Logger) -> Progress:
    """Validates the whole localizer and keeps its weights."""
    localize = localizer_estimator(localizer)

    def judge() -> dict[str, dict[str, Any]]:
        return validate(localize, localizer.scenario, options.data_dir, options.config, options.validation_scenes)

    return Progress(options, logger, judge, {BEST_MODEL: localizer.weights}, localizer.backbone.grid_variables)


def train(options: TrainOptions, logger: logging.Logger) -> None:
    """Trains, or goes on with, the run in options.run_dir."""
    localizer, model = prepare(options)
    fit(model, backbone_progress(localizer, options, logger))
