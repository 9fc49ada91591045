"""Processes of the stages. All are forked from one process that has imported TensorFlow, which saves seconds for each.

The process that is forked has imported the stages but has used no device and started no thread pool of TensorFlow.
"""

import importlib
import logging
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait

from pipeline.common.log import descriptor
from pipeline.common.stages import entry_point, module

_SHOWN_STAGES = ("train", "refine", "tune", "locate")
"""Stages whose output is shown on the console; that of the others goes only to the log."""
_FORKSERVER = multiprocessing.get_context("forkserver")


def start() -> None:
    """Starts the process that imports the stages. Its imports run beside those of this process."""
    _FORKSERVER.set_forkserver_preload(["pipeline.run.preloaded"])
    multiprocessing.forkserver.ensure_running()


def run_process(stage: str, given: Sequence[str], logger: logging.Logger) -> int:
    """Runs a stage in a process that ends if this one is killed, logs its output, and returns its exit status."""
    logger.debug(" ".join([sys.executable, "-m", module(stage), *given]))
    console = descriptor(sys.stderr)
    receiver, sender = _FORKSERVER.Pipe(duplex=False)
    errors = None if console is None else Connection(os.dup(console), readable=False)
    process = _FORKSERVER.Process(target=_run_here, args=(stage, given, sender, errors))
    process.start()
    for used in (sender, errors):
        if used is not None:
            used.close()
    with receiver, open(receiver.fileno(), encoding="utf-8", closefd=False) as lines:
        for line in lines:
            pass_on(stage, line, logger)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run_here(stage: str, given: Sequence[str], output: Connection, errors: Connection | None) -> None:
    """Runs a stage in this process, a fork, with the pipe as its standard output."""
    threading.Thread(target=_end_with_run, daemon=True).start()
    os.dup2(output.fileno(), 1)
    if errors is not None:
        os.dup2(errors.fileno(), 2)
    for used in (output, errors):
        if used is not None:
            used.close()
    sys.argv = [module(stage), *given]
    importlib.import_module(entry_point(stage)).main()


def _end_with_run() -> None:
    """Kills this process when the run ends, for whatever reason."""
    run = multiprocessing.parent_process()
    assert run is not None
    wait([run.sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


def pass_on(stage: str, line: str, logger: logging.Logger) -> None:
    """Logs a line of a stage's output: to the console and the log, or to the log alone."""
    is_shown = stage in _SHOWN_STAGES and not line.startswith("log: ")
    logger.log(logging.INFO if is_shown else logging.DEBUG, line.rstrip())
