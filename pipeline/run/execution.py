"""Executes a run: makes the plan, starts each remaining stage as a process, and prints a summary."""

import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.common.artifacts import folder_lock
from pipeline.common.command_line import arguments
from pipeline.common.log import descriptor
from pipeline.common.main import FAIL
from pipeline.common.stages import STAGES, module
from pipeline.run.options import RunOptions
from pipeline.run.plan import Planned, duration, make_plan, plan_lines
from pipeline.run.run_file import read_run_file
from pipeline.run.steps import steps
from pipeline.run.summary import summary
from serving.server_process import end_with_parent

_SHOWN_STAGES = ("train", "refine", "tune", "locate")
"""Stages whose output is shown on the console; that of the others goes only to the log."""


class StageFailed(RuntimeError):
    """A stage ended with an error, which it has printed itself."""


def run(options: RunOptions, logger: logging.Logger) -> int | None:
    """Runs the remaining stages. Returns FAIL if a verdict stopped the run.

    Raises:
      Differs: a folder holds results of other options or inputs; nothing was changed.
      Busy: another run works in the folder.
      StageFailed: a stage failed.
    """
    file = read_run_file(options.config, options.run_dir, options.installation)
    with folder_lock(file.run_dir):
        plan = make_plan(steps(file))
        logger.info(f"plan of {file.run_dir} from {file.path}:")
        for line in plan_lines(plan):
            logger.info(line)
        return None if options.plan else _execute(plan, file.run_dir, logger)


def _execute(plan: Sequence[Planned], run_dir: Path, logger: logging.Logger) -> int | None:
    started, spent, stopped = time.monotonic(), dict[str, float](), None
    for number, planned in enumerate(plan, start=1):
        step, begun = planned.step, time.monotonic()
        if not planned.is_done:
            elapsed = begun - started
            logger.info(f"== {number}/{len(plan)} {step.name}: {STAGES[step.name]} ({elapsed:.0f} s so far)")
            status = run_process(step.name, arguments(step.options), logger)
            if status not in (0, FAIL):
                raise StageFailed(f"stage {step.name} ended with status {status}")
            spent[step.name] = time.monotonic() - begun
        if (reason := step.stops()) is not None:
            stopped = f"{step.name}: {reason}"
            break
    taken = duration(time.monotonic() - started)
    logger.info(f"== done in {taken}" if stopped is None else f"== stopped after {taken} by {stopped}")
    for line in summary(run_dir, plan, spent):
        logger.info(line)
    return None if stopped is None else FAIL


def run_process(stage: str, given: Sequence[str], logger: logging.Logger) -> int:
    """Runs a stage in a process that ends if this one is killed, logs its output, and returns its exit status."""
    command = [sys.executable, "-m", module(stage), *given]
    logger.debug(" ".join(command))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=descriptor(sys.stderr), text=True, preexec_fn=end_with_parent
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            pass_on(stage, line, logger)
    return process.returncode


def pass_on(stage: str, line: str, logger: logging.Logger) -> None:
    """Logs a line of a stage's output: to the console and the log, or to the log alone."""
    is_shown = stage in _SHOWN_STAGES and not line.startswith("log: ")
    logger.log(logging.INFO if is_shown else logging.DEBUG, line.rstrip())
