"""A study by one process, or by several under a chief."""

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from pipeline.common.records import write_config
from pipeline.tune.options import TuneOptions
from pipeline.tune.study import Study, is_worker


@contextlib.contextmanager
def _only_one(run_dir: Path) -> Iterator[None]:
    """Keeps a second process off the oracle's state."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with open(run_dir / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"--run-dir: expected a study that nobody works on, got {run_dir}, which is busy"
            ) from None
        yield


def tune(options: TuneOptions, logger: logging.Logger) -> None:
    """Runs the study, or goes on with it.

    Raises:
      ValueError: a folder that another process works on, or one of another study.
    """
    tf.config.experimental.enable_op_determinism()  # a killed study ends as an undisturbed one
    with contextlib.nullcontext() if is_worker() else _only_one(options.run_dir):
        study = Study(options, logger)
        if not is_worker():
            write_config(options.run_dir / "config.json", options)
        study.run()
