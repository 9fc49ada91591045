"""`python -m pipeline.run`: the stages in turn, from simulated scenes to an evaluated, served localizer."""

import dataclasses
import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.common.log import descriptor
from pipeline.common.main import FAIL, run_stage
from pipeline.common.stages import STAGES

MODEL_NAME = "ris_localizer"


class StageFailed(RuntimeError):
    """A stage ended with an error, which it has told of itself."""


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Simulates, trains, judges, exports, evaluates and serves; each stage is a process of its own.

    The defaults are a small set-up in which training pays: impaired scenes, and an estimator that is given no time to
    search what its first atoms leave unexplained.
    """

    run_dir: Path = Path("runs/demo")
    """Where everything goes; the model lands in RUN_DIR/serving/ris_localizer/VERSION."""
    config: str = "l64_m64_impaired_2000_300_200"
    """Set of scenes, as for `python -m pipeline.data`."""
    installation: Path | None = None
    """An installation file that everything is for, docs/installation.md."""
    initial: Path | None = None
    """A backbone.keras to start training from; left out, the untrained one."""
    additions: int = 0
    """Rounds in which the estimator may add sources, where --initial does not say it; 2 is the stages' own default."""
    epochs: int = 4
    """Training epochs."""
    steps_per_epoch: int = 125
    """Batches of 16 scenes an epoch."""
    learning_rate: float = 2e-3
    """First learning rate."""
    validation_scenes: int = 100
    """Validation scenes that choose the epoch."""
    judged_scenes: int = 200
    """Further validation scenes: trained, untrained and sequential maximum likelihood are compared on them."""
    test_scenes: int = 200
    """Test scenes of the exported model's evaluation."""
    located_scenes: int = 2
    """Fresh scenes that a model server is sent."""


def stages(options: RunOptions) -> dict[str, list[str]]:
    """Arguments of every stage, in order."""
    run_dir = options.run_dir
    place: list[object] = [] if options.installation is None else ["--installation", options.installation]
    scenes: list[object] = ["--config", options.config, *place, "--data-dir", run_dir / "data"]
    logs: list[object] = ["--log-dir", run_dir / "logs"]
    trained, model = run_dir / "train", run_dir / "serving" / MODEL_NAME
    training: list[object] = [*scenes, "--run-dir", trained, "--validation-scenes", options.validation_scenes]
    training += ["--epochs", options.epochs]
    training += ["--steps-per-epoch", options.steps_per_epoch, "--learning-rate", options.learning_rate]
    if options.initial is None:
        training += ["--backbone.continuous.additions", options.additions]
    else:
        training += ["--initial", options.initial]
    judged: list[object] = ["--run-dir", trained, "--min-training-scenes", 1]
    judged += ["--scenes", options.judged_scenes, "--skip-scenes", options.validation_scenes]
    arguments: dict[str, list[object]] = {
        "data": scenes,
        "train": training,
        "learnability": [*scenes, *judged],
        "export": ["--backbone", trained / "backbone.keras", "--model-base-path", model, *logs],
        "evaluate": [
            *(*scenes, "--saved-model", model, "--scenes", options.test_scenes),
            *("--output-dir", run_dir / "evaluation"),
        ],
        "locate": [
            *("--model-base-path", model, "--config", options.config, *place, "--scenes", options.located_scenes),
            *("--output", run_dir / "measurement.npz", *logs),
        ],
    }
    return {name: list(map(str, given)) for name, given in arguments.items()}


def run_process(stage: str, arguments: list[str], logger: logging.Logger) -> int:
    """Runs a stage in a process of its own and passes on what it says; its exit status."""
    command = [sys.executable, "-m", f"pipeline.{stage}", *arguments]
    logger.debug(" ".join(command))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=descriptor(sys.stderr), text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            level = logging.DEBUG if line.startswith("log: ") else logging.INFO
            logger.log(level, line.rstrip())
    return process.returncode


def summary(options: RunOptions) -> list[str]:
    """What came out of it, where it lies, and what to do next."""
    run_dir = options.run_dir

    def read(*path: str) -> dict[str, Any]:
        return json.loads(run_dir.joinpath(*path).read_text(encoding="utf-8"))

    judged, tested = read("train", "learnability.json"), read("evaluation", "metrics.json")["standard"]
    names = {"untrained": "untrained", "trained": "trained", "sequential_ml": "sequential maximum likelihood"}
    f1 = ", ".join(f"{name} {judged['scores'][key]['f1']:.3f}" for key, name in names.items())
    model, measurement = (run_dir / "serving" / MODEL_NAME).absolute(), run_dir / "measurement.npz"
    place = "" if options.installation is None else f" --installation {options.installation}"
    served = f"--target localhost:8500 --config {options.config}{place} --data-dir {run_dir / 'data'}"
    return [
        f"F1 on {options.judged_scenes} validation scenes that chose nothing: {f1}",
        f"F1 of the exported model on {options.test_scenes} test scenes: {tested['f1']:.3f}",
        f"figures: {run_dir / 'evaluation' / 'figures'}/*.png; logs: {run_dir / 'logs'}, and logs/ in every folder",
        "next, with .venv/bin/ before python:",
        f"  python -m serving.model_server --port=8500 --model_name={MODEL_NAME} --model_base_path={model}",
        f"  python -m serving.client --target localhost:8500 --input {measurement} --output sources.json",
        f"  python -m pipeline.evaluate {served} --scenes {options.test_scenes} --output-dir {run_dir / 'served'}",
    ]


def work(options: RunOptions, logger: logging.Logger) -> None:
    """Runs the stages.

    Raises:
      StageFailed: one of them did; a verdict of FAIL is none.
    """
    started = time.monotonic()
    given = stages(options)
    for number, (name, arguments) in enumerate(given.items(), start=1):
        logger.info(f"== {number}/{len(given)} {name}: {STAGES[name]} ({time.monotonic() - started:.0f} s so far)")
        status = run_process(name, arguments, logger)
        if status not in (0, FAIL):
            raise StageFailed(f"stage {name} ended with status {status}")
    logger.info(f"== done in {time.monotonic() - started:.0f} s")
    for line in summary(options):
        logger.info(line)


def main() -> None:
    """Command line entry point."""
    run_stage("run", RunOptions, work, lambda options: options.run_dir / "logs")


if __name__ == "__main__":
    main()
