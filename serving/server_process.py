"""Starts the model server in a separate process, for benchmarks, validation and tests."""

import contextlib
import ctypes
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

_SERVER = "serving.model_server"
_PR_SET_PDEATHSIG = 1
PATIENCE_S = 600.0
"""Timeout of a start and of a first answer, seconds. Both may take minutes on a busy machine."""
_STOP_S = 120.0


def end_with_parent() -> None:
    """For Popen's preexec_fn: kills the process when the thread that started it ends, for whatever reason."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class NotServing(RuntimeError):
    """The server did not start to serve."""


class ServerProcess:
    """`python -m serving.model_server --port=0` with flags. It serves as soon as the constructor returns.

    Args:
      flags: as on the command line.
      log: receives its standard error.
      module: runs instead of serving.model_server.
      killed_with_parent: whether it is killed when the calling thread ends.

    Raises:
      NotServing: it did not start to serve; one line with the last line of its log.
    """

    def __init__(
        self, flags: tuple[str, ...], log: IO[str], module: str = _SERVER, killed_with_parent: bool = False
    ) -> None:
        command = [sys.executable, "-m", module, "--port=0", *flags]
        self.log = Path(log.name)
        self.lines: list[str] = []
        """Its standard output so far: lines `serving NAME version V on port P`, with REST also `, REST on port R`."""
        self._printed = threading.Condition()
        before = end_with_parent if killed_with_parent else None
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=before)
        threading.Thread(target=self._read, daemon=True).start()
        with self._printed:
            self._printed.wait_for(lambda: self.lines or self.process.poll() is not None, PATIENCE_S)
        if not self.lines:
            self.kill()
            last_line = self.log.read_text().strip().rpartition("\n")[2]
            raise NotServing(f"model server: expected it to load a version, got {last_line!r}")
        self.read_ports(self.lines[0])

    def read_ports(self, line: str) -> None:
        """Sets `port`, `rest_port` and `target` from a line of `lines`."""
        ports = [int(port) for port in re.findall(r"on port (\d+)", line)]
        self.port, self.rest_port, self.target = ports[0], ports[-1], f"localhost:{ports[0]}"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._printed:
                self.lines.append(line.strip())
                self._printed.notify_all()
        self.process.wait()
        with self._printed:
            self._printed.notify_all()

    def resident_bytes(self) -> int:
        """Returns its resident memory, bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def terminate(self) -> int:
        """Sends SIGTERM, waits for the end and returns the exit status."""
        self.process.terminate()
        return self.process.wait(_STOP_S)

    def kill(self) -> None:
        """Kills it if it still runs."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def server_process(*flags: str, module: str = _SERVER, killed_with_parent: bool = False) -> Iterator[ServerProcess]:
    """Runs a server within the block; arguments and errors as for `ServerProcess`."""
    with tempfile.NamedTemporaryFile("w", prefix="model-server-", suffix=".log") as log:
        server = ServerProcess(flags, log, module, killed_with_parent)  # type: ignore[arg-type]
        try:
            yield server
            if server.process.poll() is None and module == _SERVER:
                server.terminate()
        finally:
            server.kill()


def wait_until(condition: Callable[[], bool], deadline_s: float = PATIENCE_S) -> None:
    """Polls until `condition` returns True. Raises TimeoutError if it does not within `deadline_s` seconds."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"expected a condition to hold within {deadline_s} s, it did not")
        time.sleep(0.03)
