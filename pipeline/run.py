"""`python -m pipeline.run CONFIG.toml`: from a file to a pushed model; every step cached, recorded and safe to kill."""

import ctypes
import dataclasses
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from pipeline.common.artifacts import alone
from pipeline.common.records import logging_to
from pipeline.release.pushing import served_version
from pipeline.running.command_line import arguments
from pipeline.running.plan import Planned, duration, make_plan, plan_lines
from pipeline.running.run_file import read_run_file
from pipeline.running.steps import Step, steps

_PR_SET_PDEATHSIG = 1


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Runs the stages that a file names, each a process of its own; killed, the same command goes on.

    A stage whose options, inputs and code have not changed is not run again. One whose folder holds the results of
    others stops the run before anything is touched.
    """

    config: tyro.conf.Positional[Path]
    """TOML: run_dir, and a table for each stage, [data], [train] and so on, with its options as keys. [score],
    [learnability], [refine], [bless], [push] and [locate] run only where there is a table."""
    run_dir: Path | None = None
    """Where everything goes, in place of the file's run_dir."""
    plan: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Shows the plan and stops."""


def run(options: RunOptions, logger: logging.Logger, all_steps: Sequence[Step], run_dir: Path) -> str | None:
    """Does what is left to do; why the run stopped, None if it came to its end.

    Raises:
      Differs: a folder holds the results of something else; nothing was touched.
      ValueError, OSError: scenes or a model that is damaged.
    """
    plan = make_plan(all_steps)
    logger.info(f"plan of {run_dir} from {options.config}:")
    for line in plan_lines(plan):
        logger.info(line)
    if options.plan:
        return None
    started, spent = time.monotonic(), dict[str, float]()
    stopped = None
    for planned in plan:
        step, begun = planned.step, time.monotonic()
        if not planned.is_done:
            stopped = _do(step, logger)
            spent[step.name] = time.monotonic() - begun
        stopped = stopped or step.stops()
        if stopped is not None:
            stopped = f"stage {step.name}: {stopped}"
            break
    for line in _summary(run_dir, plan, spent):
        logger.info(line)
    logger.info(f"{'stopped' if stopped else 'done'} after {duration(time.monotonic() - started)}")
    return stopped


def _do(step: Step, logger: logging.Logger) -> str | None:
    """Runs a stage; what went wrong, None if nothing did."""
    command = [sys.executable, "-m", f"pipeline.{step.name}", *arguments(step.options)]
    logger.info(f"== pipeline.{step.name} {' '.join(command[3:])}")
    begun = time.monotonic()
    status = subprocess.run(command, check=False, preexec_fn=_end_with_parent).returncode
    logger.info(f"== pipeline.{step.name}: {time.monotonic() - begun:.0f} s")
    try:
        return step.stops() or (f"ended with status {status}" if status else None)
    except (OSError, ValueError):  # it left no verdict
        return f"ended with status {status}"


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


def main() -> None:
    """Command line entry point; exit status 1 where the run stopped before its end."""
    try:
        options = tyro.cli(RunOptions, prog="python -m pipeline.run")
        file = read_run_file(options.config, options.run_dir)
        all_steps = steps(file)
        with alone(file.run_dir), logging_to(file.run_dir / "logs", "run") as (logger, log_path):
            logger.info(f"log: {log_path}")
            stopped = run(options, logger, all_steps, file.run_dir)
    except (ValueError, OSError) as error:
        first_line = str(error).strip().partition("\n")[0]
        sys.exit(f"pipeline.run: {first_line}")
    sys.exit(f"pipeline.run: {stopped}" if stopped else 0)


if __name__ == "__main__":
    main()
