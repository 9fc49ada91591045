"""`python -m tests.rigs.eagerly MODULE ...`: runs a module without graphs; for tiny models, tracing takes longest."""

import runpy
import sys

from models.lean_start import start_lean


def main() -> None:
    """Command line entry point."""
    start_lean()
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
