"""A stage's log: what it says, to the console and a file; what libraries write to stderr, to the file alone."""

import contextlib
import io
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

_FILE_FORMAT = logging.Formatter("%(asctime)s %(message)s")


@contextlib.contextmanager
def logging_to(directory: Path, stage: str) -> Iterator[tuple[logging.Logger, Path]]:
    """A logger that writes to the console and to a new file STAGE-TIME.log in `directory`, and that file's path.

    An error that ends the block goes into the file with its traceback; showing it is left to the caller.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{stage}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    logger = logging.getLogger(f"{__name__}.{stage}")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    file_handler = logging.FileHandler(path, encoding="utf-8")
    file_handler.setFormatter(_FILE_FORMAT)
    console_handler = logging.StreamHandler(sys.stdout)
    console_handler.setLevel(logging.INFO)
    handlers: list[logging.Handler] = [file_handler, console_handler]
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield logger, path
    except BaseException as error:
        logger.debug(f"stopped: {error}", exc_info=True)
        raise
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


@contextlib.contextmanager
def quiet_libraries(path: Path) -> Iterator[None]:
    """Sends what libraries write to stderr, their loggers and Python's warnings to the file at `path`.

    TensorFlow writes at start-up, and its C++ later on, to the descriptor itself, so that is what is turned. Python's
    `sys.stderr` stays on the console: progress bars and error lines go there.
    """
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_FILE_FORMAT)
    root = logging.getLogger()
    root.addHandler(handler)  # before TensorFlow is imported, which then adds no handler of its own
    logging.captureWarnings(True)
    stderr, console = sys.stderr, os.dup(2)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, console)
        if descriptor(stderr) == 2:
            stderr.flush()
            sys.stderr = stack.enter_context(open(console, "w", buffering=1, closefd=False, encoding="utf-8"))
        try:
            _turn_to(path)
            yield
        finally:
            sys.stderr.flush()
            os.dup2(console, 2)
            sys.stderr = stderr
            logging.captureWarnings(False)
            root.removeHandler(handler)
            handler.close()


def _turn_to(path: Path) -> None:
    """Makes descriptor 2 write to the end of the file."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 2)
    os.close(file)


def descriptor(stream: TextIO) -> int | None:
    """What the operating system knows a stream by; None where it is none of its files, as under a test's capture."""
    try:
        return stream.fileno()
    except (AttributeError, io.UnsupportedOperation, ValueError):
        return None
