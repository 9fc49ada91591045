"""Command line of `ris-mvdr train`."""

import logging

from pipeline.common.hyperparameters import read_hyperparameters, replaced
from pipeline.common.main import run_stage
from pipeline.fitting.options import log_dir
from pipeline.train.options import TrainOptions


def _tuned(options: TrainOptions) -> TrainOptions | None:
    """The defaults with the values of --hyperparameters; None without that option."""
    if options.hyperparameters is None:
        return None
    return replaced(options, read_hyperparameters(options.hyperparameters))


def work(options: TrainOptions, logger: logging.Logger) -> None:
    """Trains, or resumes, the run."""
    import tensorflow as tf

    from pipeline.train.training import train

    tf.config.experimental.enable_op_determinism()  # a resumed run, or a trial of a study, ends with the same weights
    train(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("train", TrainOptions, work, log_dir, _tuned)


if __name__ == "__main__":
    main()
