"""`python -m pipeline.train`: trains the backbone on the shards; killed at any point, the same command goes on."""

import dataclasses
import logging
import math
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import tyro

from models.backbone import Backbone, BackboneConfig
from models.covariance import ShrinkageConfig
from models.geometry import Scenario
from models.localizer import Localizer, LocalizerConfig
from models.losses import LossConfig
from pipeline.estimators import Estimator, localizer_estimator
from pipeline.export import load_backbone
from pipeline.hyperparameters import read_hyperparameters, replaced
from pipeline.metrics import compute_metrics, metrics_config
from pipeline.predictions import evaluate_predictions, run_estimator
from pipeline.records import logging_to, replacing, write_config, write_json
from pipeline.scenes import load_scenes, shuffled_batches
from pipeline.training_model import BackboneTraining
from tfds_shards.scene_sets import scene_set

BEST_MODEL = "backbone.keras"


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Trains the backbone; the untrained one counts as epoch 0, so the result is never worse than it."""

    run_dir: Path
    """Where backbone.keras (best by validation), checkpoints/, logs/, tensorboard/, config.json and metrics.json go."""
    data_dir: Path = Path("runs/data")
    """Where `python -m pipeline.data` put the scenes."""
    config: tuple[str, ...] = ("l64_m64",)
    """Sets of scenes, as for `python -m pipeline.data`; every batch takes an equal share of each, validation too."""
    epochs: int = 20
    """Epochs; a checkpoint and a validation after each."""
    steps_per_epoch: int = 250
    """Batches an epoch."""
    batch_size: int = 16
    """Scenes a batch."""
    learning_rate: float = 1e-3
    """Adam's first learning rate; falls to zero by a cosine."""
    validation_scenes: int = 200
    """Validation scenes of each set, the first ones of the split, scored by the findings' objective."""
    seed: int = 1
    """Seeds weights and the order of the scenes."""
    initial: Path | None = None
    """A backbone.keras to start from, such as models/weights/backbone.keras; its shape holds, --backbone.* do not."""
    hyperparameters: Path | None = None
    """A best.json of `python -m pipeline.tune`: its values in place of the defaults, --backbone.* beside --initial too;
    options given here win over it."""
    backbone: BackboneConfig = BackboneConfig()
    losses: LossConfig = LossConfig()
    shrinkage: ShrinkageConfig = ShrinkageConfig()

    def __post_init__(self) -> None:
        for field in ("epochs", "steps_per_epoch", "batch_size", "validation_scenes"):
            if getattr(self, field) < 1:
                raise ValueError(f"--{field.replace('_', '-')}: expected 1 or more, got {getattr(self, field)}")
        if not self.config:
            raise ValueError("--config: expected at least one set of scenes, got none")
        if self.batch_size % len(self.config):
            raise ValueError(f"--batch-size: expected a multiple of the {len(self.config)} sets, got {self.batch_size}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"--learning-rate: expected a finite positive number, got {self.learning_rate}")


def validate(
    localize: Estimator, scenario: Scenario, data_dir: Path, configs: Sequence[str], scenes: int
) -> dict[str, dict[str, Any]]:
    """Metrics of `localize` on that many first validation scenes of every set."""
    found = {}
    for config in configs:
        batches = load_scenes(data_dir, config, "validation", take=scenes, batch_size=20)
        predictions = run_estimator(localize, batches, scenes, show_progress=False)
        found[config] = compute_metrics(evaluate_predictions(predictions, metrics_config(scenario)))
    return found


def training_batches(options: TrainOptions, skip_batches: int) -> tf.data.Dataset:
    """Endless batches, an equal share of each set, in an order that a killed run takes up again."""
    share = options.batch_size // len(options.config)
    parts = [
        shuffled_batches(options.data_dir, config, share, seed=options.seed, skip_batches=skip_batches)
        for config in options.config
    ]
    return tf.data.Dataset.zip(*parts).map(
        lambda *batches: tf.nest.map_structure(lambda *values: tf.concat(values, axis=0), *batches)
    )


class Progress(keras.callbacks.Callback):
    """After each epoch: validate, keep the best model, write to TensorBoard and the log, checkpoint."""

    def __init__(self, localizer: Localizer, options: TrainOptions, logger: logging.Logger) -> None:
        super().__init__()
        self.localizer, self.options, self.logger = localizer, options, logger
        self.localize = localizer_estimator(localizer)
        self.epochs_done = tf.Variable(0, dtype=tf.int64)
        self.best_objective = tf.Variable(math.inf, dtype=tf.float64)
        self.manager: tf.train.CheckpointManager | None = None
        self.tensorboard = tf.summary.create_file_writer(str(options.run_dir / "tensorboard"))
        self.started, self.first_epoch = time.monotonic(), 0

    def restore(self, model: BackboneTraining) -> int:
        """Takes up the last checkpoint if there is one; epochs done."""
        model.optimizer.build(model.backbone.grid_variables)
        checkpoint = tf.train.Checkpoint(
            weights=[weight.value for weight in model.backbone.grid_variables],  # layers in lists go untracked
            optimizer=model.optimizer,
            epochs_done=self.epochs_done,
            best_objective=self.best_objective,
        )
        directory = self.options.run_dir / "checkpoints"
        self.manager = tf.train.CheckpointManager(checkpoint, str(directory), max_to_keep=2)
        if self.manager.latest_checkpoint:
            checkpoint.restore(self.manager.latest_checkpoint).assert_existing_objects_matched()
            self.first_epoch = int(self.epochs_done)
            self.logger.info(f"resumed after epoch {int(self.epochs_done)} from {self.manager.latest_checkpoint}")
        else:
            self.score(0, {})
        return int(self.epochs_done)

    def score(self, epoch: int, logs: dict[str, float]) -> None:
        """Validates, keeps the model if it is the best so far; what is recorded comes before the checkpoint."""
        options = self.options
        metrics = validate(
            self.localize, self.localizer.scenario, options.data_dir, options.config, options.validation_scenes
        )
        objective = statistics.fmean(float(found["objective"]) for found in metrics.values())
        f1 = statistics.fmean(float(found["standard"]["f1"]) for found in metrics.values())
        logs.update(val_objective=objective, val_f1=f1)
        if objective < float(self.best_objective):
            self.best_objective.assign(objective)
            with replacing(self.options.run_dir / BEST_MODEL) as temporary:
                self.localizer.backbone.save(temporary)
            write_json(self.options.run_dir / "metrics.json", {"epoch": epoch, "validation": metrics})
        with self.tensorboard.as_default(step=epoch):
            for name, value in logs.items():
                tf.summary.scalar(name, value)
        self.tensorboard.flush()
        an_epoch = (time.monotonic() - self.started) / max(epoch - self.first_epoch, 1)
        left = an_epoch * (self.options.epochs - epoch)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in sorted(logs.items()))
        self.logger.info(f"epoch {epoch}/{self.options.epochs}  {shown}  {left:.0f} s left")
        self.epochs_done.assign(epoch)
        if self.manager is not None:
            self.manager.save(checkpoint_number=epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs if logs is not None else {}
        if not all(math.isfinite(value) for value in logs.values()):
            raise ValueError(f"epoch {epoch + 1}: the loss is no longer finite; expected a lower --learning-rate")
        self.score(epoch + 1, logs)


def prepare(options: TrainOptions) -> tuple[Localizer, BackboneTraining]:
    """Seeds everything; the localizer as training starts, and the compiled model that trains its backbone.

    Raises:
      ValueError: sets of different scenarios, or --initial weights that do not fit.
    """
    keras.utils.set_random_seed(options.seed)
    scenarios = {scene_set(config).config.scenario for config in options.config}
    if len(scenarios) > 1:
        raise ValueError(f"--config: expected sets of one scenario, got {', '.join(options.config)}")
    scenario = scenarios.pop()
    backbone = Backbone(scenario, options.backbone) if options.initial is None else load_backbone(options.initial)
    if backbone.scenario != scenario:
        raise ValueError(f"--initial: expected a backbone of the scenario of {options.config[0]}, got another one")
    if options.initial is not None and options.hyperparameters is not None:
        weights = backbone.get_weights()
        backbone = Backbone(scenario, options.backbone)
        if [weight.shape for weight in weights] != [weight.shape for weight in backbone.get_weights()]:
            raise ValueError("--initial: expected weights of the shape the hyperparameters ask for, got another one")
        backbone.set_weights(weights)
    localizer = Localizer(backbone, LocalizerConfig(shrinkage=options.shrinkage))
    model = BackboneTraining(backbone, options.losses, options.shrinkage)
    schedule = keras.optimizers.schedules.CosineDecay(options.learning_rate, options.epochs * options.steps_per_epoch)
    model.compile(optimizer=keras.optimizers.Adam(schedule), jit_compile=False)
    return localizer, model


def train(options: TrainOptions, logger: logging.Logger) -> None:
    """Trains, or goes on with, the run in options.run_dir."""
    localizer, model = prepare(options)
    progress = Progress(localizer, options, logger)
    done = progress.restore(model)
    if done >= options.epochs:
        logger.info(f"all {options.epochs} epochs are done already")
        return
    batches = training_batches(options, skip_batches=done * options.steps_per_epoch)
    model.fit(
        batches,
        epochs=options.epochs,
        initial_epoch=done,
        steps_per_epoch=options.steps_per_epoch,
        callbacks=[progress],
        verbose="auto" if sys.stdout.isatty() else 2,
    )
    logger.info(f"best validation objective {float(progress.best_objective):.3f}: {options.run_dir / BEST_MODEL}")


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
            write_config(options.run_dir / "config.json", options)
            train(options, logger)
    except (ValueError, OSError, tf.errors.OpError) as error:
        first_line = str(error).strip().partition("\n")[0]
        sys.exit(f"pipeline.train: {first_line}")


if __name__ == "__main__":
    main()
