"""`python -m pipeline.run`: every stage in turn, from simulated scenes to an evaluated, exported localizer."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import tyro

from models.weights import PRETRAINED


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


def main() -> None:
    """Command line entry point."""
    options = tyro.cli(RunOptions, prog="python -m pipeline.run")
    for name, arguments in stages(options).items():
        print(f"== pipeline.{name} {' '.join(arguments)}", flush=True)
        started = time.monotonic()
        status = subprocess.run([sys.executable, "-m", f"pipeline.{name}", *arguments], check=False).returncode
        if status != 0:
            sys.exit(f"pipeline.run: stage {name} ended with status {status}")
        print(f"== pipeline.{name}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
