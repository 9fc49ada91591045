"""Trains the backbone; the metrics of the whole localizer score every epoch."""

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
from pipeline.fitting.distribution import Distribution, join_workers
from pipeline.fitting.loop import optimizer, run_fingerprint
from pipeline.fitting.validation import ValidatedTraining, validate
from pipeline.metrics.estimators import localizer_estimator
from pipeline.scenes.identity import common_scenario
from pipeline.train.options import BEST_MODEL, START_MODEL, TrainOptions


def prepare(options: TrainOptions) -> tuple[Localizer, BackboneTraining]:
    """Sets all seeds; returns the localizer at the start of the training and the compiled model of its backbone."""
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


def backbone_training(
    options: TrainOptions,
    localizer: Localizer,
    model: BackboneTraining,
    logger: logging.Logger,
    distribution: Distribution | None = None,
) -> ValidatedTraining:
    """The training loop that validates the localizer of `prepare` at options.effort and saves its best weights."""
    validated = Localizer(*with_effort(localizer.weights, localizer.config, options.effort))
    localize = localizer_estimator(validated)

    def validation() -> dict[str, dict[str, Any]]:
        validated.weights.set_weights(localizer.weights.get_weights())
        return validate(localize, localizer.scenario, options.data_dir, options.config, options.validation_scenes)

    return ValidatedTraining(model, options, distribution, logger, validation, {BEST_MODEL: localizer.weights})


def train(options: TrainOptions, logger: logging.Logger) -> None:
    """Trains, or resumes, the run in options.run_dir; a finished run stays as it is."""
    with join_workers(options, logger) as distribution:
        with distribution.strategy.scope():
            localizer, model = prepare(options)
        fingerprint = run_fingerprint("train", options)
        with distribution.making(options.run_dir, fingerprint, logger, leftovers=("checkpoints", BEST_MODEL)) as run:
            if run.state != "done":
                run.begin(options)
                if distribution.worker.is_chief:
                    with replacing(options.run_dir / START_MODEL) as temporary:
                        localizer.weights.save(temporary)
                backbone_training(options, localizer, model, logger, distribution).run()
                run.facts |= {
                    "started_from": starting_point(options.initial),
                    "training_scenes": int(model.scenes_seen.numpy()),
                    "chosen_on": options.validation_scenes,
                }
                run.finish(BEST_MODEL, START_MODEL, "metrics.json")
