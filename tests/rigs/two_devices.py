"""`python -m tests.rigs.two_devices STAGE ...`: runs a stage with the CPU split into two TensorFlow devices."""

import importlib
import sys

import tensorflow as tf

from models.lean_start import start_lean
from pipeline.common import stages


def main() -> None:
    """Command line entry point."""
    start_lean()
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    _, stage, *arguments = sys.argv
    sys.argv = [stage, *arguments]
    importlib.import_module(stages.entry_point(stage)).main()


if __name__ == "__main__":
    main()
