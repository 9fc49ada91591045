"""The work of a run: the plan, the stages that are left, each a process of its own, and a summary."""

import ctypes
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.common.artifacts import alone
from pipeline.common.log import descriptor
from pipeline.common.main import FAIL
from pipeline.release.pushing import served_version
from pipeline.run import RunOptions
from pipeline.running.command_line import arguments
from pipeline.running.plan import Planned, duration, make_plan, plan_lines
from pipeline.running.run_file import read_run_file
from pipeline.running.steps import Step, steps

_PR_SET_PDEATHSIG = 1


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
    file = read_run_file(options.config, options.run_dir)
    with alone(file.run_dir):
        plan = make_plan(steps(file))
        logger.info(f"plan of {file.run_dir} from {file.path}:")
        for line in plan_lines(plan):
            logger.info(line)
        return None if options.plan else _work_off(plan, file.run_dir, logger)


def _work_off(plan: Sequence[Planned], run_dir: Path, logger: logging.Logger) -> int | None:
    started, spent = time.monotonic(), dict[str, float]()
    stopped = None
    for planned in plan:
        step, begun = planned.step, time.monotonic()
        if not planned.is_done:
            _do(step, logger)
            spent[step.name] = time.monotonic() - begun
        if (reason := step.stops()) is not None:
            stopped = f"{step.name}: {reason}"
            break
    for line in _summary(run_dir, plan, spent):
        logger.info(line)
    taken = duration(time.monotonic() - started)
    logger.info(f"done in {taken}" if stopped is None else f"stopped after {taken} by {stopped}")
    return None if stopped is None else FAIL


def _do(step: Step, logger: logging.Logger) -> None:
    command = [sys.executable, "-m", f"pipeline.{step.name}", *arguments(step.options)]
    logger.info(f"== pipeline.{step.name} {' '.join(command[3:])}")
    begun = time.monotonic()
    status = subprocess.run(command, check=False, stderr=descriptor(sys.stderr), preexec_fn=_end_with_parent).returncode
    if status not in (0, FAIL):
        raise StageFailed(f"stage {step.name} ended with status {status}")
    logger.info(f"== pipeline.{step.name}: {time.monotonic() - begun:.0f} s")


def _end_with_parent() -> None:
    """A run that is killed takes the stage with it, so that the next one finds no folder busy."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _summary(run_dir: Path, plan: Sequence[Planned], spent: dict[str, float]) -> Iterator[str]:
    yield f"summary of {run_dir}:"
    for planned in plan:
        name = planned.step.name
        what = "unchanged" if planned.is_done else duration(spent[name]) if name in spent else "not run"
        yield f"  {name:<15} {what:<10} {_result(run_dir, planned.step) if name in spent or planned.is_done else ''}"


def _result(run_dir: Path, step: Step) -> str:
    """What came of a step, in a few words."""
    if step.name == "evaluate":
        metrics = _read(step.options.output_dir / "metrics.json")
        return _figures(metrics) if metrics else ""
    if step.name in ("validate", "bless", "infra_validate", "learnability"):
        stopped = step.stops()
        return stopped if stopped is not None else {"bless": "BLESSED", "learnability": "PASS"}.get(step.name, "VALID")
    if step.name == "push":
        served = served_version(step.options.model_base_path)
        return f"version {served.number} in {step.options.model_base_path}" if served is not None else ""
    return ""


def _figures(metrics: dict[str, Any]) -> str:
    low, high = metrics["standard"]["f1_interval"]
    return (
        f"F1 {metrics['standard']['f1']:.3f} [{low:.3f}, {high:.3f}], rmse {metrics['rmse_xyz_m']:.2f} m, "
        f"{metrics['scenes']} scenes"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
