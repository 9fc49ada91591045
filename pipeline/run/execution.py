"""The work of a run: the plan, the stages that are left, each a process of its own, and a summary."""

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

_TOLD_WHOLE = ("train", "refine", "tune", "locate")
"""Stages whose own words a person waits for; the others' are in the log, their result in the summary."""


class StageFailed(RuntimeError):
    """A stage ended with an error, which it has told of itself."""


def run(options: RunOptions, logger: logging.Logger) -> int | None:
    """Does what is left to do; FAIL where a verdict stopped it.

    Raises:
      Differs: a folder holds the results of something else; nothing was touched.
      Busy: another run works in the folder.
      StageFailed: a stage did.
      ValueError, OSError: options that are refused, or scenes or a model that are damaged.
    """
    file = read_run_file(options.config, options.run_dir, options.installation)
    with folder_lock(file.run_dir):
        plan = make_plan(steps(file))
        logger.info(f"plan of {file.run_dir} from {file.path}:")
        for line in plan_lines(plan):
            logger.info(line)
        return None if options.plan else _work_off(plan, file.run_dir, logger)


def _work_off(plan: Sequence[Planned], run_dir: Path, logger: logging.Logger) -> int | None:
    started, spent = time.monotonic(), dict[str, float]()
    stopped = None
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
    """Runs a stage in a process that ends if this one is killed, and passes on what it says; its exit status."""
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
    """A line that a stage said: to the console or into the log alone."""
    told = stage in _TOLD_WHOLE and not line.startswith("log: ")
    logger.log(logging.INFO if told else logging.DEBUG, line.rstrip())
