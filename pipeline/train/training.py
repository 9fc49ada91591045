"""Trains the backbone on the shards, the whole localizer judging every epoch."""

import logging
from typing import Any

import keras

from models.artifacts import load_weights, moved_to, with_effort
from models.config import LocalizerConfig
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.grids import moved_config
from models.localizer import Localizer
from models.localizer_weights import LocalizerWeights
from pipeline.common.records import replacing
from pipeline.common.verdict import starting_point
from pipeline.fitting.backbone_training import BackboneTraining
from pipeline.fitting.loop import Progress, fit, optimizer, run_fingerprint, validate
from pipeline.fitting.replicas import Spread, spread_over
from pipeline.metrics.estimators import localizer_estimator
from pipeline.scenes.identity import common_scenario
from pipeline.train.options import BEST_MODEL, START_MODEL, TrainOptions


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
    localizer = Localizer(weights, LocalizerConfig(shrinkage=options.shrinkage, multipath=options.multipath))
    model = BackboneTraining(localizer.backbone, options.losses, options.shrinkage)
    model.compile(optimizer=optimizer(options), jit_compile=False)
    return localizer, model


def backbone_progress(localizer: Localizer, options: TrainOptions, logger: logging.Logger) -> Progress:
    """Validates the whole localizer and keeps its weights."""
    judged = Localizer(*with_effort(localizer.weights, localizer.config, options.effort))
    localize = localizer_estimator(judged)

    def judge() -> dict[str, dict[str, Any]]:
        judged.weights.set_weights(localizer.weights.get_weights())
        return validate(localize, localizer.scenario, options.data_dir, options.config, options.validation_scenes)

    return Progress(options, logger, judge, {BEST_MODEL: localizer.weights}, localizer.backbone.learned_variables)


def train(options: TrainOptions, logger: logging.Logger) -> None:
    """Trains, or goes on with, the run in options.run_dir; leaves a finished one alone.

    Raises:
      Differs: the folder holds a run of other options, scenes, weights or code.
      WorkerLost: another worker of the training is gone.
    """
    with spread_over(options, logger) as spread:
        with spread.strategy.scope():
            localizer, model = prepare(options)
        asked = run_fingerprint("train", options)
        with spread.making(options.run_dir, asked, logger, leftovers=("checkpoints", BEST_MODEL)) as run:
            if run.state != "done":
                run.begin(options)
                _train(options, spread, localizer, model, logger)
                run.facts |= {
                    "started_from": starting_point(options.initial),
                    "training_scenes": int(model.scenes_seen.numpy()),
                    "chosen_on": options.validation_scenes,
                }
                run.finish(BEST_MODEL, START_MODEL, "metrics.json")


def _train(
    options: TrainOptions, spread: Spread, localizer: Localizer, model: BackboneTraining, logger: logging.Logger
) -> None:
    if spread.place.is_chief:
        with replacing(options.run_dir / START_MODEL) as temporary:
            localizer.weights.save(temporary)
    fit(model, backbone_progress(localizer, options, logger), spread)
