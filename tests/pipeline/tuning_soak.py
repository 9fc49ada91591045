"""`python -m tests.pipeline.tuning_soak`: SIGKILLs a small study at random moments until it ends.

Its final table must equal that of an undisturbed run with the same seed. `make test` has three kills only.
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

from pipeline.data import DataOptions, build_scenes


@dataclasses.dataclass(frozen=True)
class SoakOptions:
    """Kills a study at random."""

    kills: int = 30
    """SIGKILLs."""
    longest_s: float = 25.0
    """A run is killed this long after its start at the latest."""
    trials: int = 6
    """Trials of Stage 1; Stage 2 replays half of them."""
    seed: int = 1
    """Of the moments."""


def command(run_dir: Path, data_dir: Path, trials: int) -> list[str]:
    """A study of a tiny backbone."""
    return [
        *(sys.executable, "-m", "pipeline.tune", "--run-dir", str(run_dir), "--data-dir", str(data_dir)),
        *("--config", "l64_m64_32_16_8", "--force", "--trials", str(trials), "--top", str(trials // 2)),
        *("--epochs", "2", "--steps-per-epoch", "2", "--batch-size", "4", "--surrogate-scenes", "4"),
        *("--probe-scenes", "8", "--final-scenes", "12", "--test-scenes", "0"),
        *("--backbone.grid.num-azimuth", "11", "--backbone.grid.num-elevation", "7", "--backbone.grid.num-range", "5"),
    ]


def main() -> None:
    """Command line entry point; exit status 1 where the tables differ."""
    options = tyro.cli(SoakOptions, prog="python -m tests.pipeline.tuning_soak")
    rng, kills = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        build_scenes(DataOptions("l64_m64_32_16_8", data_dir=root))
        while True:
            process = subprocess.Popen(
                command(root / "killed", root, options.trials), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                status = process.wait(rng.uniform(0.0, options.longest_s) if kills < options.kills else None)
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                done = len(list((root / "killed" / "trainings").glob("*/outcome-*.json")))
                print(f"{time.strftime('%T')} kill {kills}, {done} outcomes so far", flush=True)
        subprocess.run(command(root / "whole", root, options.trials), check=True, stdout=subprocess.DEVNULL)
        tables = [json.loads((root / name / "table.json").read_text()) for name in ("killed", "whole")]
    print(f"{kills} kills, exit status {status}, tables {'equal' if tables[0] == tables[1] else 'DIFFER'}")
    sys.exit(0 if status == 0 and tables[0] == tables[1] else 1)


if __name__ == "__main__":
    main()
