"""The live view in its own process, as a user starts it."""

import contextlib
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from serving.server_process import PATIENCE_S, end_with_parent


class ViewProcess:
    """`python -m pipeline.view --port 0`; the page is available after construction.

    Args:
      options: of the command line.
      log_dir: where its log goes.
    """

    def __init__(self, options: tuple[str, ...], log_dir: Path) -> None:
        command = [sys.executable, "-m", "pipeline.view", "--port", "0", "--log-dir", str(log_dir), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=end_with_parent)
        assert self.process.stdout is not None
        self.said = []
        for line in self.process.stdout:
            self.said.append(line)
            if found := re.search(r"open (http://[\d.]+:(\d+)/)", line):
                self.url, self.port = found[1], int(found[2])
                return
        raise AssertionError(f"expected a view, got {self.said}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def view_process(*options: str) -> Iterator[ViewProcess]:
    """A running view; it is killed at the end of the block if it is still running."""
    with tempfile.TemporaryDirectory() as folder:
        view = ViewProcess(options, Path(folder))
        try:
            yield view
        finally:
            view.process.kill()
            view.process.wait()
