"""`python -m tests.rigs.tuning_soak`: kills a small study at random moments until it ends.

Its final table must equal that of an undisturbed study with the same seed. `make test-all` has only three kills.
"""

import dataclasses
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tyro

from pipeline.data.building import build_scenes
from pipeline.data.options import DataOptions


@dataclasses.dataclass(frozen=True)
class SoakOptions:
    """Kills a study at random moments."""

    kills: int = 30
    """Number of kills (SIGKILL)."""
    longest_s: float = 25.0
    """Longest time from a start to a kill, seconds."""
    trials: int = 6
    """Trials of Stage 1; Stage 2 repeats half of them."""
    seed: int = 1
    """Seed of the moments."""


def command(run_dir: Path, data_dir: Path, trials: int) -> list[str]:
    """Returns the command of a study with a tiny backbone."""
    return [
        *(sys.executable, "-m", "pipeline.tune", "--run-dir", str(run_dir), "--data-dir", str(data_dir)),
        *("--config", "l64_m64_32_16_8", "--force", "--trials", str(trials), "--top", str(trials // 2)),
        *("--epochs", "2", "--steps-per-epoch", "2", "--batch-size", "4", "--surrogate-scenes", "4"),
        *("--probe-scenes", "8", "--final-scenes", "12", "--test-scenes", "0"),
        *("--backbone.grid.num-azimuth", "11", "--backbone.grid.num-elevation", "7", "--backbone.grid.num-range", "5"),
    ]


def killed_study(run_dir: Path, data_dir: Path, options: SoakOptions, rng: random.Random, kills: int) -> int:
    """Starts and kills a study until it ends; returns the total of kills. Without kills left, it waits for the end."""
    while True:
        process = subprocess.Popen(
            command(run_dir, data_dir, options.trials), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            status = process.wait(rng.uniform(0.0, options.longest_s) if kills < options.kills else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            done = len(list((run_dir / "trainings").glob("*/outcome-*.json")))
            print(f"{time.strftime('%T')} kill {kills}, {done} outcomes so far", flush=True)
            continue
        if status != 0:
            sys.exit(f"tuning_soak: the study in {run_dir.name} ended with status {status} after {kills} kills")
        return kills


def main() -> None:
    """Command line entry point; exit status 1 if a table differs."""
    options = tyro.cli(SoakOptions, prog="python -m tests.rigs.tuning_soak")
    rng, kills, studies = random.Random(options.seed), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        build_scenes(DataOptions("l64_m64_32_16_8", data_dir=root))
        subprocess.run(command(root / "whole", root, options.trials), check=True, stdout=subprocess.DEVNULL)
        expected = json.loads((root / "whole" / "table.json").read_text())
        while kills < options.kills:
            studies += 1
            run_dir = root / f"killed{studies}"
            kills = killed_study(run_dir, root, options, rng, kills)
            if json.loads((run_dir / "table.json").read_text()) != expected:
                sys.exit(
                    f"tuning_soak: after {kills} kills the table of {run_dir.name} differs from the undisturbed one"
                )
    print(f"{kills} kills over {studies} studies: every table equals the undisturbed one")


if __name__ == "__main__":
    main()
