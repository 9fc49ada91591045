"""Command line of `ris-mvdr refine`."""

import logging

from pipeline.common.main import run_stage
from pipeline.fitting.options import log_dir
from pipeline.refine.options import RefineOptions


def work(options: RefineOptions, logger: logging.Logger) -> None:
    """Trains, or resumes, the run."""
    import tensorflow as tf

    from pipeline.refine.training import refine

    tf.config.experimental.enable_op_determinism()  # a resumed run ends with the same weights
    refine(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("refine", RefineOptions, work, log_dir)


if __name__ == "__main__":
    main()
