"""`python -m pipeline.run`: every stage in turn, from simulated scenes to an evaluated, exported localizer."""

import dataclasses
import logging
import subprocess
import sys
import time
from pathlib import Path

from models.weights import PRETRAINED
from pipeline.common.log import descriptor
from pipeline.common.main import run_stage


class StageFailed(RuntimeError):
    """A stage ended with an error, which it has told of itself."""


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Simulates, trains, exports, evaluates and serves; each stage is a process of its own."""

    run_dir: Path = Path("runs/demo")
    """Where everything goes; the model lands in RUN_DIR/serving/ris_localizer/VERSION."""
    config: str = "l64_m64_small"
    """Set of scenes, as for `python -m pipeline.data`."""
    installation: Path | None = None
    """An installation file that everything is for, docs/installation.md."""
    initial: Path | None = PRETRAINED
    """A backbone.keras to start training from."""
    epochs: int = 3
    """Training epochs."""
    learning_rate: float = 2e-4
    """First learning rate; small, as trained weights are tuned on."""
    steps_per_epoch: int = 20
    """Batches an epoch."""
    validation_scenes: int = 60
    """Validation scenes after each epoch."""
    test_scenes: int = 200
    """Test scenes of the evaluation."""


def stages(options: RunOptions) -> dict[str, list[str]]:
    """Arguments of every stage, in order."""
    run_dir = options.run_dir
    place = [] if options.installation is None else ["--installation", str(options.installation)]
    scenes = ["--config", options.config, *place, "--data-dir", str(run_dir / "data")]
    model = run_dir / "serving" / "ris_localizer"
    training = ["--epochs", options.epochs, "--steps-per-epoch", options.steps_per_epoch]
    training += ["--learning-rate", options.learning_rate]
    if options.initial is not None:
        training += ["--initial", options.initial]
    return {
        "data": scenes,
        "train": [
            *scenes,
            *("--run-dir", str(run_dir / "train"), "--validation-scenes", str(options.validation_scenes)),
            *map(str, training),
        ],
        "export": ["--backbone", str(run_dir / "train" / "backbone.keras"), "--model-base-path", str(model)],
        "evaluate": [
            *scenes,
            *("--saved-model", str(model), "--scenes", str(options.test_scenes)),
            *("--output-dir", str(run_dir / "evaluation")),
        ],
        "locate": [
            *("--model-base-path", str(model), "--config", options.config, *place),
            *("--output", str(run_dir / "measurement.npz")),
        ],
    }


def work(options: RunOptions, logger: logging.Logger) -> None:
    """Runs the stages.

    Raises:
      StageFailed: one of them did.
    """
    for name, arguments in stages(options).items():
        logger.info(f"== pipeline.{name} {' '.join(arguments)}")
        started = time.monotonic()
        command = [sys.executable, "-m", f"pipeline.{name}", *arguments]
        status = subprocess.run(command, check=False, stderr=descriptor(sys.stderr)).returncode
        if status != 0:
            raise StageFailed(f"stage {name} ended with status {status}")
        logger.info(f"== pipeline.{name}: {time.monotonic() - started:.0f} s")


def main() -> None:
    """Command line entry point."""
    run_stage("run", RunOptions, work, lambda options: options.run_dir / "logs")


if __name__ == "__main__":
    main()
