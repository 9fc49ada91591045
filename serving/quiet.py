"""Keeps the console free of TensorFlow's start-up messages."""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator

_NOISE = re.compile(
    rb"I\d{4} |WARNING: All log messages before absl::InitializeLog"
    rb"|E\d{4} .*failed call to cuInit.*UNKNOWN ERROR \(303\)"
)
"""INFO lines, a heading without a message, and the error on machines without a CUDA driver (303)."""


def _forward(read_end: int, stderr: int) -> None:
    with os.fdopen(read_end, "rb") as lines:
        for line in lines:
            if not _NOISE.match(line):
                os.write(stderr, line)


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Drops TensorFlow's start-up messages while the block imports it; all other output passes.

    TensorFlow prints some of them before it reads TF_CPP_MIN_LOG_LEVEL, which hides the INFO lines that follow. A child
    process filters standard error within the block, so that the last words of a process that crashes during the import
    are not lost. With TF_CPP_MIN_LOG_LEVEL=0, everything is shown.
    """
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    if level == "0" or "tensorflow" in sys.modules or sys.stderr is None:
        yield
        return
    stderr = os.dup(2)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the block, or with the process
            os.close(write_end)
            _forward(read_end, stderr)
        finally:
            os._exit(0)
    os.close(read_end)
    os.dup2(write_end, 2)
    os.close(write_end)
    try:
        yield
        if "tensorflow" in sys.modules:  # look for a CUDA driver now; otherwise the first session does so
            sys.modules["tensorflow"].config.list_physical_devices("GPU")
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        os.waitpid(child, 0)
