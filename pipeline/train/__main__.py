"""Command line of `ris-mvdr train`."""

import logging

from pipeline.common.hyperparameters import tuned
from pipeline.common.main import command
from pipeline.fitting.options import log_dir
from pipeline.train.options import TrainOptions


@command("train", TrainOptions, log_dir, tuned)
def main(options: TrainOptions, logger: logging.Logger) -> None:
    """Trains, or resumes, the run."""
    import tensorflow as tf

    from pipeline.train.training import train

    tf.config.experimental.enable_op_determinism()  # a resumed run, or a trial of a study, ends with the same weights
    train(options, logger)


if __name__ == "__main__":
    main()
