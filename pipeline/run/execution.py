"""Executes a run: makes the plan, starts each remaining stage as a process, and prints a summary."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from pathlib import Path

import tensorflow as tf

from pipeline.common.artifacts import folder_lock
from pipeline.common.command_line import arguments
from pipeline.common.main import FAIL
from pipeline.common.stages import STAGES
from pipeline.run.options import RunOptions
from pipeline.run.plan import Planned, duration, make_plan, plan_lines
from pipeline.run.processes import run_process
from pipeline.run.run_file import read_run_file
from pipeline.run.steps import steps
from pipeline.run.summary import summary

_MOST_AT_A_TIME = 3  # each takes about 1 GiB


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
    started, spent = time.monotonic(), dict[str, float]()
    stopped = _run_steps({planned.step.name: planned for planned in plan}, spent, logger)
    taken = duration(time.monotonic() - started)
    logger.info(f"== done in {taken}" if stopped is None else f"== stopped after {taken} by {stopped}")
    for line in summary(run_dir, plan, spent):
        logger.info(line)
    return None if stopped is None else FAIL


def _run_steps(plan: Mapping[str, Planned], spent: dict[str, float], logger: logging.Logger) -> str | None:
    """Runs each step as soon as those that it needs have ended, several at a time, and adds their durations to `spent`.

    Returns the step whose verdict stops the run, with the reason; None if none does. Steps that already run then end.
    """
    numbers, started = {name: number for number, name in enumerate(plan, start=1)}, time.monotonic()
    at_a_time = _steps_at_a_time()

    def run_step(name: str) -> None:
        if plan[name].is_done:
            return
        begun = time.monotonic()
        logger.info(f"== {numbers[name]}/{len(plan)} {name}: {STAGES[name]} ({begun - started:.0f} s so far)")
        status = run_process(name, arguments(plan[name].step.options), logger)
        if status not in (0, FAIL):
            raise StageFailed(f"stage {name} ended with status {status}")
        spent[name] = time.monotonic() - begun

    order = TopologicalSorter({name: planned.step.needs for name, planned in plan.items()})
    order.prepare()
    ready, running, stopped = list[str](), dict[Future[None], str](), None
    with ThreadPoolExecutor(at_a_time) as pool:
        while (order.is_active() and stopped is None) or running:
            ready = sorted([*ready, *order.get_ready()], key=numbers.__getitem__)
            while ready and stopped is None and len(running) < at_a_time:
                name = ready.pop(0)
                running[pool.submit(run_step, name)] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                future.result()
                order.done(name)
                if stopped is None and (reason := plan[name].step.stops()) is not None:
                    stopped = f"{name}: {reason}"
    return stopped


def _steps_at_a_time() -> int:
    """One where there is a GPU, whose memory TensorFlow takes for one process; otherwise one for each core."""
    if tf.config.list_physical_devices("GPU"):
        return 1
    return min(len(os.sched_getaffinity(0)), _MOST_AT_A_TIME)
