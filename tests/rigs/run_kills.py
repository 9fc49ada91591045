"""Kills whole runs at random moments and starts them again: `python -m tests.rigs.run_kills --kills 40`.

Checks three things. The result equals that of an undisturbed run: weights by their hash, metrics to 1e-6. No folder
stays locked. A server that watches the folder of versions never sees an incomplete version.
"""

import contextlib
import dataclasses
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tyro

from pipeline.common.digests import content_digest
from pipeline.release.versions import RELEASE_FILE, versions_in

MODEL_NAME = "ris_localizer"
SHARE = 0.3
"""A run is killed within this share of the time of an undisturbed run."""
FILE = """
[data]
config = "l64_m64_64_24_16"
[train]
epochs = 3
steps_per_epoch = 3
batch_size = 8
validation_scenes = 8
backbone.stages = 1
backbone.width = 4
backbone.depth = 2
backbone.active_atoms = 16
backbone.grid.num_azimuth = 11
backbone.grid.num_elevation = 7
backbone.grid.num_range = 5
backbone.refinement.steps = 4
backbone.refinement.additions = 0
[confidence]
scenes = 32
validation_scenes = 8
epochs = 5
[export]
warmup_batch_sizes = []
[evaluate]
scenes = 8
[bless]
thresholds = "{thresholds}"
scenes = 8
[infra_validate]
infra.scenes = 2
infra.max_latency_ms = 1e6
infra.max_memory_mib = 1e6
[push]
"""


@dataclasses.dataclass(frozen=True)
class KillOptions:
    """Kills runs and compares their results."""

    kills: int = 40
    """Number of kills, over successive runs."""
    seed: int = 1
    """Seed of the moments."""
    folder: Path | None = None
    """Folder of the runs, empty; default: a temporary folder."""


@dataclasses.dataclass(frozen=True)
class End:
    """Result of a run. weights: hash of the model with its score. metrics: those of the evaluation."""

    weights: str
    metrics: dict[str, float]

    def is_close_to(self, other: "End") -> bool:
        """Whether all metrics agree to 1e-6."""
        return self.metrics == pytest.approx(other.metrics, rel=1e-6, nan_ok=True)


def write_file(folder: Path) -> Path:
    """Writes the file of a small run."""
    (folder / "thresholds.toml").write_text('[[threshold]]\nmetric = "f1"\nat_least = 0.0\n')
    (folder / "run.toml").write_text(FILE.format(thresholds=folder / "thresholds.toml"))
    return folder / "run.toml"


def start(file: Path, run_dir: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline.run", str(file), "--run-dir", str(run_dir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end_of(run_dir: Path) -> End:
    """Returns the result in the folder of a finished run."""
    metrics = json.loads((run_dir / "evaluation" / "metrics.json").read_text())
    figures = {name: metrics[name] for name in ("objective", "rmse_xyz_m", "scenes")}
    return End(content_digest(run_dir / "confidence" / "backbone.keras"), {**figures, "f1": metrics["standard"]["f1"]})


def to_the_end(file: Path, run_dir: Path) -> float:
    """Starts a run, waits for its end and returns its time in seconds.

    Raises:
      RuntimeError: the run ended with an error; the message is its last line.
    """
    begun = time.monotonic()
    process = start(file, run_dir)
    said = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(said.strip().rpartition("\n")[2])
    return time.monotonic() - begun


def killed(file: Path, folder: Path, kills: int, span_s: float, moments: random.Random) -> list[Path]:
    """Kills runs up to `span_s` seconds after each start and starts them again. When a run finishes, the next begins.

    Returns:
      The folders of the runs, all of them finished.

    Raises:
      RuntimeError: the folder of a run was locked, or a run ended with another error.
    """
    runs, left = [folder / "killed-1"], kills
    while left:
        process = start(file, runs[-1])
        try:
            said = process.communicate(timeout=moments.uniform(0.0, span_s))[0]
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            said = process.communicate()[0]
        if process.returncode == -signal.SIGKILL:
            left -= 1
            stages = re.findall(r"^== \d+/\d+ (\w+):", said, re.MULTILINE)
            print(f"killed {kills - left} of {kills}: run {len(runs)}, {(stages or ['start'])[-1]}", flush=True)
        elif process.returncode:
            raise RuntimeError(said.strip().rpartition("\n")[2])
        else:
            runs.append(folder / f"killed-{len(runs) + 1}")
    to_the_end(file, runs[-1])
    return runs


@contextlib.contextmanager
def watching(folder: Path) -> Iterator[list[str]]:
    """Lists the folders of versions all the time, as a server does; yields the list of faults it saw."""
    faults, stop = list[str](), threading.Event()

    def look() -> None:
        for base_path in folder.glob(f"killed-*/serving/{MODEL_NAME}"):
            for version in versions_in(base_path):
                if not (version.path / "saved_model.pb").is_file() or not (version.path / RELEASE_FILE).is_file():
                    faults.append(f"{version.path} was seen in part")

    def watch() -> None:
        while not stop.wait(0.01):
            try:
                look()
            except OSError as error:
                faults.append(f"not seen at all: {error}")

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield faults
    finally:
        stop.set()
        thread.join()


def torment(folder: Path, kills: int, seed: int) -> tuple[End, list[End], list[str]]:
    """Returns the result of an undisturbed run, those of the killed runs, and the faults that `watching` saw."""
    file = write_file(folder)
    span_s = SHARE * to_the_end(file, folder / "undisturbed")
    with watching(folder) as faults:
        runs = killed(file, folder, kills, span_s, random.Random(seed))
    return end_of(folder / "undisturbed"), [end_of(run) for run in runs], faults


def main() -> None:
    """Command line entry point."""
    options = tyro.cli(KillOptions)
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            sys.exit(f"run_kills: --folder: expected an empty folder, got {folder}")
        undisturbed, ends, faults = torment(folder, options.kills, options.seed)
    for name, end in [("undisturbed", undisturbed), *((f"killed-{n}", end) for n, end in enumerate(ends, 1))]:
        print(f"{name}: weights {end.weights[:12]}, {end.metrics}")
    print(f"killed {options.kills} times, faults a watcher saw: {len(faults)}")
    if faults:
        sys.exit(f"run_kills: {faults[0]}")
    for number, end in enumerate(ends, 1):
        if end.weights != undisturbed.weights or not end.is_close_to(undisturbed):
            sys.exit(f"run_kills: killed-{number} ended as another run than the undisturbed one")


if __name__ == "__main__":
    main()
