"""`python -m tests.rigs.killed_at MODULE:FUNCTION COUNT STAGE ...`: runs a stage and kills it at a chosen moment.

SIGKILL comes at the COUNT-th return of FUNCTION, so it hits the same point on any machine.
"""

import functools
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from models.lean_start import start_lean
from pipeline.common import stages
from tests.forked import Forked


def kill_after(target: str, count: int) -> None:
    """Replaces a function or method, module:dotted.name; its `count`-th return then kills this process."""
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    original, left = getattr(owner, name), iter(range(count - 1, -1, -1))

    @functools.wraps(original)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, replacement)


def killed_stage(target: str, count: int, stage: str, *arguments: object, rig: Sequence[str] = ()) -> str:
    """Runs a stage until it is killed, optionally through the module of another rig, and returns its output.

    Raises:
      AssertionError: the stage ended before; the message has its output.
    """
    process = Forked(*rig, "tests.rigs.killed_at", target, str(count), stage, *map(str, arguments))
    stdout, stderr = process.communicate()
    assert process.returncode == -signal.SIGKILL, stdout + stderr
    return stdout


def killed_process(target: str, count: int, stage: str, *arguments: object) -> str:
    """As `killed_stage`, in a new process; returns when also the processes that it started have ended."""
    command = [sys.executable, "-m", "tests.rigs.killed_at", target, str(count), stage, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    return done.stdout


def main() -> None:
    """Command line entry point."""
    start_lean()  # like the stage itself, before `kill_after` imports its modules
    target, count, stage, *arguments = sys.argv[1:]
    kill_after(target, int(count))
    sys.argv = [stage, *arguments]
    importlib.import_module(stages.entry_point(stage)).main()


if __name__ == "__main__":
    main()
