"""`pipeline.run`: its stages fit together, and it ends with a summary of what they left."""

import importlib
import json
import logging
import re
import shlex
import sys
from pathlib import Path

import pytest

from models.localizer import Localizer
from pipeline import run
from pipeline.common.main import ERROR, FAIL
from tests.conftest import MODEL_NAME, SCENE_SETS

SMALL = (
    *("--config", SCENE_SETS[0], "--epochs", "1", "--steps-per-epoch", "1"),
    *("--validation-scenes", "8", "--judged-scenes", "8", "--test-scenes", "8", "--located-scenes", "1"),
)
MOST_LINES = 60


@pytest.fixture(scope="module")
def finished(tiny_localizer: Localizer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a small run from given weights, its stages in this process, and the console."""
    folder = tmp_path_factory.mktemp("run")
    tiny_localizer.weights.save(folder / "initial.keras")
    said = (folder / "console").open("w+")

    def here(stage: str, arguments: list[str], logger: logging.Logger) -> int:
        sys.argv = [stage, *arguments]
        try:
            importlib.import_module(f"pipeline.{stage}").main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", said)
        patch.setattr(
            sys, "argv", ["run", "--run-dir", str(folder), "--initial", str(folder / "initial.keras"), *SMALL]
        )
        patch.setattr(run, "run_process", here)
        run.main()
    said.seek(0)
    return folder, said.read().splitlines()


def test_every_stage_leaves_what_it_promises(finished: tuple[Path, list[str]]) -> None:
    folder, _ = finished
    for path in ("train/backbone.keras", "train/learnability.json", "measurement.npz"):
        assert (folder / path).is_file(), path
    assert len(list((folder / "evaluation" / "figures").glob("*.png"))) >= 5
    (version,) = (folder / "serving" / MODEL_NAME).iterdir()
    assert version.name.isdecimal()
    assert len(list((folder / "logs").glob("*.log"))) == 3  # its own, the export's, the server's client's


def test_the_console_is_short_and_ends_with_a_summary(finished: tuple[Path, list[str]]) -> None:
    folder, console = finished
    assert len(console) <= MOST_LINES
    headings = [line for line in console if re.match(r"== \d/6 ", line)]
    stages = ["data", "train", "learnability", "export", "evaluate", "locate"]
    assert [line.split()[2].rstrip(":") for line in headings] == stages
    end = console[next(n for n, line in enumerate(console) if line.startswith("== done")) + 1 :]
    scores = json.loads((folder / "train" / "learnability.json").read_text())["scores"]
    for name, shown in (("untrained", "untrained"), ("trained", " trained"), ("sequential_ml", "maximum likelihood")):
        assert f"{shown} {scores[name]['f1']:.3f}" in end[0]
    tested = json.loads((folder / "evaluation" / "metrics.json").read_text())["standard"]["f1"]
    assert end[1].endswith(f"{tested:.3f}")


def test_the_next_commands_are_ones(finished: tuple[Path, list[str]], monkeypatch, capsys) -> None:
    _, console = finished
    commands = [shlex.split(line) for line in console[-3:]]
    assert [command[:3] for command in commands] == [
        ["python", "-m", module] for module in ("serving.model_server", "serving.client", "pipeline.evaluate")
    ]
    module, arguments = commands[2][2], commands[2][3:]
    monkeypatch.setattr(sys, "argv", [module, *arguments, "--help"])
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(module).main()
    assert all(option in capsys.readouterr().out for option in ["--target"])


def test_a_stage_is_a_process_whose_lines_are_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logger = logging.getLogger("test")
    assert run.run_process("train", ["--help"], logger) == 0
    assert "usage: python -m pipeline.train " in caplog.text
    assert run.run_process("train", ["--run-dir", "x", "--epochs", "0"], logger) == ERROR


@pytest.mark.parametrize(("status", "goes_on"), [(FAIL, True), (ERROR, False), (-9, False)])
def test_an_error_of_a_stage_ends_it_and_a_verdict_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, goes_on: bool
) -> None:
    begun: list[str] = []

    def fails(stage: str, arguments: list[str], logger: logging.Logger) -> int:
        begun.append(stage)
        return status if stage == "learnability" else 0

    monkeypatch.setattr(run, "run_process", fails)
    monkeypatch.setattr(run, "summary", lambda options: [])
    options = run.RunOptions(run_dir=tmp_path)
    if goes_on:
        run.work(options, logging.getLogger("test"))
        assert begun == list(run.stages(options))
    else:
        with pytest.raises(run.StageFailed, match=f"stage learnability ended with status {status}"):
            run.work(options, logging.getLogger("test"))
        assert begun[-1] == "learnability"
