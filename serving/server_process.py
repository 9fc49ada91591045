"""A model server in a process of its own, for benchmarks, soaks and tests."""

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

_PR_SET_PDEATHSIG = 1
PATIENCE_S = 600.0
"""How long a start or a first answer, which waits for its graph, is waited for; the machine may have other work."""
_STOP_S = 120.0


def end_with_parent() -> None:
    """As Popen's preexec_fn: the process is killed when the thread that started it ends, however that comes."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class NotServing(RuntimeError):
    """A server that did not come up."""


class ServerProcess:
    """`python -m serving.model_server --port=0` with flags; ready once it is made.

    Args:
      flags: as on the command line.
      log: where its stderr goes.
      module: what is run in place of serving.model_server.
      leave_none: whether it is killed when the calling thread ends; else it outlives one that is killed.

    Raises:
      NotServing: it did not come up; one line with the last it said.
    """

    def __init__(
        self, flags: tuple[str, ...], log: IO[str], module: str = "serving.model_server", leave_none: bool = False
    ) -> None:
        command = [sys.executable, "-m", module, "--port=0", *flags]
        self.log = Path(log.name)
        self.lines: list[str] = []
        """What it printed so far: "serving NAME version V on port P" and, if it has REST, ", REST on port R"."""
        self._printed = threading.Condition()
        before = end_with_parent if leave_none else None
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=before)
        threading.Thread(target=self._read, daemon=True).start()
        with self._printed:
            self._printed.wait_for(lambda: self.lines or self.process.poll() is not None, PATIENCE_S)
        if not self.lines:
            self.kill()
            said = self.log.read_text().strip().rpartition("\n")[2]
            raise NotServing(f"model server: expected it to load a version, got {said!r}")
        self.read_ports(self.lines[0])

    def read_ports(self, line: str) -> None:
        """Takes its ports from a line it printed; the same for both if it has no REST."""
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
        """Memory it holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def terminate(self) -> int:
        """Asks it to finish and waits until it has; its exit status."""
        self.process.terminate()
        return self.process.wait(_STOP_S)

    def kill(self) -> None:
        """Ends it at once, if it still runs."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def server_process(
    *flags: str, module: str = "serving.model_server", leave_none: bool = False
) -> Iterator[ServerProcess]:
    """A running server, finished with the block; see `ServerProcess`.

    Raises:
      NotServing: it did not come up.
    """
    with tempfile.NamedTemporaryFile("w", prefix="model-server-", suffix=".log") as log:
        server = ServerProcess(flags, log, module, leave_none)  # type: ignore[arg-type]
        try:
            yield server
            if server.process.poll() is None and module == "serving.model_server":
                server.terminate()
        finally:
            server.kill()


def wait_until(condition: Callable[[], bool], deadline_s: float = PATIENCE_S) -> None:
    """Looks at `condition` until it holds.

    Raises:
      TimeoutError: it does not by then.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"expected within {deadline_s} s")
        time.sleep(0.03)
