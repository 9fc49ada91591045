"""Processes that have TensorFlow imported when they begin, forked from one that has: it saves 5 s of CPU each.

A module sees the arguments, environment and streams that it has under `python -m`. Tests of what a command imports or
prints as it starts use a real process.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from serving.server_process import end_with_parent

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.preloaded"])


class Forked:
    """`python -m MODULE ARGUMENT ...` as a forked process, with the methods of `subprocess.Popen` that tests need.

    Args:
      module: it runs as `__main__`.
      arguments: of its command line.
      environment: variables in addition to those of this process.
    """

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._streams = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        told = (os.getcwd(), {**os.environ, **(environment or {})}, self._streams, module, arguments)
        self._process = _CONTEXT.Process(target=_run, args=told)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """The exit status, or minus the number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """As `returncode`."""
        return self.returncode

    def kill(self) -> None:
        """Sends SIGKILL if it still runs."""
        self._process.kill()

    def communicate(self) -> tuple[str, str]:
        """Waits for its end; returns stdout and stderr."""
        self._process.join()
        said = [path.read_text() if path.exists() else "" for path in self._streams]
        return said[0], said[1]


def _run(folder: str, environment: dict[str, str], streams: list[Path], module: str, arguments: list[str]) -> None:
    """In the process."""
    end_with_parent()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for path, stream in zip(streams, (sys.stdout, sys.stderr), strict=True):
        with path.open("wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
