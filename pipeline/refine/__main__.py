"""Command line of `ris-mvdr refine`."""

import logging

from pipeline.common.main import run_stage
from pipeline.fitting.options import log_dir
from pipeline.refine.options import RefineOptions


def work(options: RefineOptions, logger: logging.Logger) -> None:
    """Trains, or goes on with, the run."""
    import tensorflow as tf

    from pipeline.refine.training import refine

    tf.config.experimental.enable_op_determinism()  # killed or not, the same options end at the same weights
    refine(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("refine", RefineOptions, work, log_dir)


if __name__ == "__main__":
    main()
