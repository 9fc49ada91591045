"""Logging of a stage: its messages go to the console and a file, what libraries write to stderr only to the file."""

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
    """Yields a logger that writes to the console and to a new file STAGE-TIME-PID.log, and the path of that file.

    An error that ends the block is written to the file with its traceback. The caller shows it to the user.
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
    """Redirects library output on stderr, library loggers and Python warnings to the file at `path`.

    TensorFlow's C++ code writes to file descriptor 2, so the descriptor itself is redirected. Python's `sys.stderr`
    still writes to the console, for progress bars and error messages.
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
            with path.open("a") as file:
                os.dup2(file.fileno(), 2)
            yield
        finally:
            sys.stderr.flush()
            os.dup2(console, 2)
            sys.stderr = stderr
            logging.captureWarnings(False)
            root.removeHandler(handler)
            handler.close()


def descriptor(stream: TextIO) -> int | None:
    """The file descriptor of a stream; None if it has none, for example while pytest captures it."""
    try:
        return stream.fileno()
    except (AttributeError, io.UnsupportedOperation, ValueError):
        return None
