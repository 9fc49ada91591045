"""`python -m pipeline.train`: trains the backbone on the shards; killed at any point, the same command goes on."""

import dataclasses
import logging
import sys
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import tyro

from models.artifacts import load_weights
from models.config import LocalizerConfig, LossConfig
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import BackboneConfig
from models.localizer import Localizer
from models.localizer_weights import LocalizerWeights
from models.physics.config import ShrinkageConfig
from pipeline.common.artifacts import making
from pipeline.common.hyperparameters import read_hyperparameters, replaced
from pipeline.common.records import logging_to, replacing
from pipeline.common.verdict import starting_point
from pipeline.evaluation.estimators import localizer_estimator
from pipeline.training.backbone_training import BackboneTraining
from pipeline.training.fitting import FitOptions, Progress, common_scenario, fit, run_fingerprint, validate

BEST_MODEL, START_MODEL = "backbone.keras", "start.keras"


@dataclasses.dataclass(frozen=True)
class TrainOptions(FitOptions):
    """Trains the backbone; the untrained one counts as epoch 0, so the result is never worse than it."""

    initial: Path | None = None
    """A backbone.keras to start from, such as models/weights/backbone.keras; its shape holds, --backbone.* do not."""
    hyperparameters: Path | None = None
    """A best.json of `python -m pipeline.tune`: its values in place of the defaults, --backbone.* beside --initial too;
    options given here win over it."""
    backbone: BackboneConfig = BackboneConfig()
    losses: LossConfig = LossConfig()
    shrinkage: ShrinkageConfig = ShrinkageConfig()


def prepare(options: TrainOptions) -> tuple[Localizer, BackboneTraining]:
    """Seeds everything; the localizer as training starts, and the compiled model that trains its backbone.

    Raises:
      ValueError: sets of different scenarios, or --initial weights that do not fit.
    """
    keras.utils.set_random_seed(options.seed)
    scenario = common_scenario(options.config)
    if options.initial is None:
        weights = LocalizerWeights(Backbone(scenario, options.backbone))
    else:
        weights = load_weights(options.initial)
    if weights.backbone.scenario != scenario:
        raise ValueError(f"--initial: expected a backbone of the scenario of {options.config[0]}, got another one")
    if options.initial is not None and options.hyperparameters is not None:
        backbone = Backbone(scenario, options.backbone)
        if [weight.shape for weight in weights.backbone.weights] != [weight.shape for weight in backbone.weights]:
            raise ValueError("--initial: expected weights of the shape the hyperparameters ask for, got another one")
        weights = weights.with_backbone(backbone)
    localizer = Localizer(weights, LocalizerConfig(shrinkage=options.shrinkage))
    model = BackboneTraining(localizer.backbone, options.losses, options.shrinkage)
    model.compile(optimizer=options.optimizer(), jit_compile=False)
    return localizer, model


def backbone_progress(localizer: Localizer, options: TrainOptions, logger: logging.Logger) -> Progress:
    """Validates the whole localizer and keeps its weights."""
    localize = localizer_estimator(localizer)

    def judge() -> dict[str, dict[str, Any]]:
        return validate(localize, localizer.scenario, options.data_dir, options.config, options.validation_scenes)

    return Progress(options, logger, judge, {BEST_MODEL: localizer.weights}, localizer.backbone.grid_variables)


def train(options: TrainOptions, logger: logging.Logger) -> None:
    """Trains, or goes on with, the run in options.run_dir; leaves a finished one alone.

    Raises:
      Differs: the folder holds a run of other options, scenes, weights or code.
    """
    localizer, model = prepare(options)
    asked = run_fingerprint("pipeline.train", options)
    with making(options.run_dir, asked, logger, leftovers=("checkpoints", BEST_MODEL)) as run:
        if run.state == "done":
            return
        run.begin(options)
        with replacing(options.run_dir / START_MODEL) as temporary:
            localizer.weights.save(temporary)
        fit(model, backbone_progress(localizer, options, logger))
        run.facts |= {
            "started_from": starting_point(options.initial),
            "training_scenes": int(model.scenes_seen),
            "chosen_on": options.validation_scenes,
        }
        run.finish(BEST_MODEL, START_MODEL, "metrics.json")


def main() -> None:
    """Command line entry point."""
    try:
        options = tyro.cli(TrainOptions, prog="python -m pipeline.train")
        if options.hyperparameters is not None:
            tf.config.experimental.enable_op_determinism()  # the trial's score comes out to the last digit
            tuned = replaced(options, read_hyperparameters(options.hyperparameters))
            options = tyro.cli(TrainOptions, prog="python -m pipeline.train", default=tuned)
        with logging_to(options.run_dir / "logs", "train") as (logger, log_path):
            logger.info(f"log: {log_path}")
            train(options, logger)
    except (ValueError, OSError, tf.errors.OpError) as error:
        first_line = str(error).strip().partition("\n")[0]
        sys.exit(f"pipeline.train: {first_line}")


if __name__ == "__main__":
    main()
