"""`python -m pipeline.tune`: searches training options on a fast surrogate, then ranks the best at MVDR-final.

Killed at any point, the same command goes on. docs/tuning.md has the whole of it, several machines included.
"""

import contextlib
import fcntl
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import tensorflow as tf
import tyro

from pipeline.common.records import logging_to, write_config
from pipeline.tuning.options import TuneOptions
from pipeline.tuning.study import Study, is_worker


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


def main() -> None:
    """Command line entry point."""
    try:
        options = tyro.cli(TuneOptions, prog="python -m pipeline.tune")
        tf.get_logger().setLevel(logging.ERROR)  # a graph a trial is what there must be
        tf.config.experimental.enable_op_determinism()  # a killed study ends as an undisturbed one
        alone = contextlib.nullcontext() if is_worker() else _only_one(options.run_dir)
        with alone, logging_to(options.run_dir / "logs", "tune") as (logger, log_path):
            logger.info(f"log: {log_path}")
            study = Study(options, logger)
            if not is_worker():
                write_config(options.run_dir / "config.json", options)
            study.run()
    except (ValueError, OSError, RuntimeError, tf.errors.OpError, grpc.RpcError) as error:
        first_line = str(error).strip().partition("\n")[0]
        sys.exit(f"pipeline.tune: {first_line}")


if __name__ == "__main__":
    main()
