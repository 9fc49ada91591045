"""Command line of `ris-mvdr refine`."""

import logging

from pipeline.common.main import command
from pipeline.fitting.options import log_dir
from pipeline.refine.options import RefineOptions


@command("refine", RefineOptions, log_dir)
def main(options: RefineOptions, logger: logging.Logger) -> None:
    """Trains, or resumes, the run."""
    import tensorflow as tf

    from pipeline.refine.training import refine

    tf.config.experimental.enable_op_determinism()  # a resumed run ends with the same weights
    refine(options, logger)


if __name__ == "__main__":
    main()
