"""`python -m tests.rigs.without_graphs STAGE ...`: a stage that runs eagerly, small runs in a third of the time.

Tracing and optimising the localizer's graph takes ten seconds a process, and its batches of a few scenes none.
"""

import contextlib
import importlib
import subprocess
import sys
from collections.abc import Iterator

import tensorflow as tf

from pipeline.common.stages import module


@contextlib.contextmanager
def without_graphs() -> Iterator[None]:
    """tf.function runs eagerly inside; what is loaded from a SavedModel, or exported, is a graph all the same."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def run_here(stage: str, arguments: list[str]) -> None:
    """The stage's main, eagerly, with these arguments."""
    sys.argv = [stage, *arguments]
    with without_graphs():
        importlib.import_module(module(stage)).main()


def start(stage: str, *arguments: object, **options: object) -> subprocess.Popen:
    """The stage in a process; what it prints as text, stderr as `subprocess.Popen` is told."""
    command = [sys.executable, "-m", "tests.rigs.without_graphs", stage, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]


if __name__ == "__main__":
    run_here(sys.argv[1], sys.argv[2:])
