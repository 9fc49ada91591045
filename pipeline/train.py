"""`python -m pipeline.train`: trains the backbone on the shards; killed at any point, the same command goes on."""

import dataclasses
import logging
from pathlib import Path

from models.config import LossConfig
from models.covariance_estimator.config import BackboneConfig
from models.effort import Effort
from models.physics.config import ShrinkageConfig
from pipeline.common.hyperparameters import read_hyperparameters, replaced
from pipeline.common.main import run_stage
from pipeline.training.options import FitOptions, log_dir

BEST_MODEL, START_MODEL = "backbone.keras", "start.keras"


@dataclasses.dataclass(frozen=True)
class TrainOptions(FitOptions):
    """Trains the backbone; the untrained one counts as epoch 0, so the result is never worse than it."""

    initial: Path | None = None
    """A backbone.keras to start from, such as models/weights/backbone.keras; its shape holds, --backbone.* do not."""
    hyperparameters: Path | None = None
    """A best.json of `python -m pipeline.tune`: its values in place of the defaults, --backbone.* beside --initial too;
    options given here win over it."""
    effort: Effort = "default"
    """At which validation judges an epoch; what the start has learned shows most where it is fast."""
    backbone: BackboneConfig = BackboneConfig()
    losses: LossConfig = LossConfig()
    shrinkage: ShrinkageConfig = ShrinkageConfig()


def _tuned(options: TrainOptions) -> TrainOptions | None:
    """The defaults with --hyperparameters in their place."""
    if options.hyperparameters is None:
        return None
    return replaced(options, read_hyperparameters(options.hyperparameters))


def work(options: TrainOptions, logger: logging.Logger) -> None:
    """Trains, or goes on with, the run."""
    import tensorflow as tf

    from pipeline.training.train_backbone import train

    tf.config.experimental.enable_op_determinism()  # killed or tuned, the same options end at the same weights
    train(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("train", TrainOptions, work, log_dir, _tuned)


if __name__ == "__main__":
    main()
