"""`pipeline.run`: from one file to a pushed model; nothing is run twice or left stale, and a summary ends the run."""

import contextlib
import fcntl
import importlib
import io
import json
import logging
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from models.localizer import Localizer
from pipeline.common.command_line import arguments
from pipeline.common.digests import ROOT, content_digest
from pipeline.common.main import ERROR, FAIL
from pipeline.common.records import plain
from pipeline.common.stages import entry_point
from pipeline.evaluate.options import EvaluateOptions
from pipeline.mlflow.options import MlflowOptions
from pipeline.release.versions import read_labels, read_release, served_version, versions_in
from pipeline.run import execution, processes
from pipeline.run.plan import Planned, duration, make_plan
from pipeline.run.run_file import read_run_file
from pipeline.run.steps import Step, steps
from pipeline.train.options import TrainOptions
from serving.server_process import wait_until
from tests.conftest import MODEL_NAME, SCENE_SETS

FILE = """
[data]
config = "{scenes}"
data_dir = "{data_dir}"
[train]
initial = "{initial}"
epochs = 1
steps_per_epoch = 1
batch_size = 4
validation_scenes = 8
multipath.rounds = 0
[learnability]
multipath.rounds = 0
scenes = 8
min_training_scenes = 1
[export]
warmup_batch_sizes = []
localizer.multipath.rounds = 0
[evaluate]
scenes = 4
[bless]
thresholds = "{thresholds}"
scenes = 4
[infra_validate]
infra.scenes = 2
infra.max_latency_ms = 1e6
infra.max_memory_mib = 1e6
[push]
label = "champion"
[mlflow]
tracking_uri = "sqlite:///{store}"
[locate]
scenes = 1
"""
THRESHOLDS = '[[threshold]]\nmetric = "f1"\nat_least = 0.0\nworse_by_at_most = 0.9\n'
STAGES = [
    *("data", "validate", "train", "learnability", "export", "evaluate"),
    *("bless", "infra_validate", "push", "mlflow", "locate"),
]
MOST_LINES = 60


def here(stage: str, given: Sequence[str], logger: logging.Logger) -> int:
    """Runs a stage in this process."""
    sys.argv = [stage, *given]
    said, status = io.StringIO(), 0
    with contextlib.redirect_stdout(said):
        try:
            importlib.import_module(entry_point(stage)).main()
        except SystemExit as stop:
            status = int(stop.code or 0)
    for line in said.getvalue().splitlines():
        processes.pass_on(stage, line, logger)
    return status


Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture(scope="module")
def run_again(tiny_localizer: Localizer, tiny_scenes: Path, run_folder: Path, made_once) -> Run:
    """Runs the file in the same folder each time, with its stages in this process; all workers share the folder.

    The returned function gives the exit status and the output, or the errors if it failed.
    """

    def fill(directory: Path) -> None:
        directory.mkdir()
        tiny_localizer.weights.save(directory / "initial.keras")
        (directory / "thresholds.toml").write_text(THRESHOLDS)

    folder = made_once("run", fill)
    places = {
        "initial": folder / "initial.keras",
        "data_dir": tiny_scenes,
        "thresholds": folder / "thresholds.toml",
        "store": folder / "store" / "mlflow.db",
    }
    text = FILE.format(scenes=SCENE_SETS[0], **places)

    def run(change: Callable[[str], str] = lambda text: text) -> tuple[int, list[str]]:
        (folder / "small.toml").write_text(change(text))
        with (
            pytest.MonkeyPatch.context() as patch,
            (folder / "console").open("w+") as said,
            (folder / "complaints").open("w+") as complained,
        ):
            patch.setattr(sys, "stdout", said)
            patch.setattr(sys, "stderr", complained)
            patch.setattr(execution, "run_process", here)
            patch.setattr(execution, "_steps_at_a_time", lambda: 1)
            patch.setattr(processes, "start", lambda: None)
            patch.setattr(sys, "argv", ["run", str(folder / "small.toml"), "--run-dir", str(folder / "run")])
            try:
                importlib.import_module("pipeline.run.__main__").main()
                status = 0
            except SystemExit as stop:
                status = int(stop.code or 0)
            heard = complained if status == ERROR else said
            heard.seek(0)
            return status, heard.read().splitlines()

    run.folder = folder / "run"  # type: ignore[attr-defined]
    return run


@pytest.fixture
def finished(run_again: Run, run_folder: Path, made_once) -> Iterator[tuple[Path, list[str]]]:
    """The folder of a finished run, which no other test uses meanwhile, and its console output."""

    def fill(directory: Path) -> None:
        status, console = run_again()
        assert status == 0, console
        directory.mkdir()
        (directory / "console").write_text("\n".join(console))

    with open(run_folder / "run-used.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        console = (made_once("finished-run", fill) / "console").read_text().split("\n")
        yield run_again.folder, console  # type: ignore[attr-defined]


@pytest.mark.stage("run", "data", "validate", "train", "learnability", "export", "evaluate")
@pytest.mark.stage("bless", "infra_validate", "push", "mlflow", "locate")
@pytest.mark.promise("demo")
def test_every_stage_leaves_what_it_promises(finished: tuple[Path, list[str]]) -> None:
    folder, _ = finished
    for path in ("train/backbone.keras", "train/learnability.json", "blessing/blessing.json", "measurement.npz"):
        assert (folder / path).is_file(), path
    assert len(list((folder / "evaluation" / "figures").glob("*.png"))) >= 5
    served = served_version(folder / "serving" / MODEL_NAME)
    assert served is not None
    assert read_labels(folder / "serving" / MODEL_NAME) == {"champion": served.number}
    assert (folder.parent / "store" / "mlflow.db").is_file()


def test_what_a_server_watches_was_evaluated_before(finished: tuple[Path, list[str]]) -> None:
    """Regression: the run once exported to that folder before it evaluated."""
    folder, console = finished
    headings = [line for line in console if re.match(r"== \d+/11 ", line)]
    assert [line.split()[2].rstrip(":") for line in headings] == STAGES[1:]  # the scenes existed
    assert not [path for path in (folder / "serving" / MODEL_NAME).iterdir() if path.name.startswith("staging")]
    assert len(versions_in(folder / "serving" / MODEL_NAME)) == len(versions_in(folder / "export" / MODEL_NAME)) == 1


def test_the_console_is_short_and_ends_with_a_summary(finished: tuple[Path, list[str]]) -> None:
    folder, console = finished
    assert len(console) <= MOST_LINES
    assert f"plan of {folder} from" in "\n".join(console)
    end = console[next(n for n, line in enumerate(console) if line.startswith("== done")) + 1 :]
    assert [line.split()[0] for line in end[: len(STAGES)]] == STAGES
    scores = json.loads((folder / "train" / "learnability.json").read_text())["scores"]
    text = "\n".join(end)
    for name, shown in (("untrained", "untrained"), ("trained", " trained"), ("sequential_ml", "maximum likelihood")):
        assert f"{shown} {scores[name]['f1']:.3f}" in text
    tested = json.loads((folder / "evaluation" / "metrics.json").read_text())["standard"]["f1"]
    assert f"F1 of the exported model on 4 test scenes: {tested:.3f}" in text


def test_the_next_commands_are_ones(finished: tuple[Path, list[str]], monkeypatch, capsys) -> None:
    _, console = finished
    commands = [shlex.split(line) for line in console[-3:]]
    assert [command[:3] for command in commands] == [
        ["python", "-m", module] for module in ("serving.model_server", "serving.client", "pipeline.evaluate")
    ]
    monkeypatch.setattr(sys, "argv", [commands[2][2], *commands[2][3:], "--help"])
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(f"{commands[2][2]}.__main__").main()
    assert "--target" in capsys.readouterr().out


@pytest.mark.stage("lineage")
def test_lineage_answers_for_the_served_version(finished: tuple[Path, list[str]], monkeypatch, capsys) -> None:
    folder, _ = finished
    base_path = folder / "serving" / MODEL_NAME
    lineage = importlib.import_module("pipeline.lineage.__main__")

    def lines_of(*options: object) -> str:
        logs = ["--model-base-path", base_path, "--log-dir", folder / "logs"]
        monkeypatch.setattr(sys, "argv", ["lineage", *map(str, [*options, *logs])])
        lineage.main()
        return capsys.readouterr().out

    text = lines_of("champion")
    weights = content_digest(folder / "train" / "backbone.keras")
    for expected in ("BLESSED on test scenes", "VALID: ", "export, run ", "train, run ", "data", "epochs = 1"):
        assert expected in text
    assert f"wrote backbone.keras: {weights[:12]}" in text
    version = served_version(base_path)
    assert version is not None
    for behind in (folder / "train" / "backbone.keras", weights[:12]):
        assert f"is an input of versions {version.number} in" in lines_of("--of", behind)
    assert "is an input of no version in" in lines_of("--of", "0123456789ab")
    release = read_release(version.path)
    assert release is not None
    assert {manifest["fingerprint"]["stage"] for manifest in release["manifests"]} >= {"data", "train", "export"}


def test_a_second_run_does_nothing(finished: tuple[Path, list[str]], run_again: Run) -> None:
    folder, _ = finished
    assert run_again()[0] == 0  # completes what a test before, which changed an option, left to be done
    results = ("train", "export", "evaluation", "blessing", "infra_validation", "serving")
    before = {path: path.stat().st_mtime_ns for name in results for path in (folder / name).rglob("*.*")}
    status, console = run_again()
    assert status == 0, console
    assert "  nothing to do" in console
    assert not [line for line in console if re.match(r"== \d+/", line)]
    assert {path: path.stat().st_mtime_ns for name in results for path in (folder / name).rglob("*.*")} == before


def test_other_options_are_refused_before_anything_is_touched(finished, run_again: Run) -> None:
    folder, _ = finished
    before = content_digest(folder / "train")
    status, console = run_again(lambda text: text.replace("epochs = 1", "epochs = 2"))
    assert status == ERROR
    assert re.search(r"^pipeline\.run: train: .* holds another run: --epochs was 1, now 2; use", console[-1])
    assert content_digest(folder / "train") == before


@pytest.mark.extended
def test_what_was_harmed_is_made_again_and_nothing_before_it(finished, run_again: Run) -> None:
    """As after a kill or a full disk; the later stages find their results unchanged."""
    folder, _ = finished
    before = served_version(folder / "serving" / MODEL_NAME)
    f1 = json.loads((folder / "evaluation" / "metrics.json").read_text())["standard"]["f1"]
    (folder / "evaluation" / "scenes.npz").write_bytes(b"torn")
    (folder / "evaluation" / "figures" / "stale.png").write_bytes(b"of another run")
    status, console = run_again()
    assert status == 0, console
    assert [line.split()[2] for line in console if re.match(r"== \d+/", line)] == [f"{name}:" for name in STAGES[5:]]
    assert json.loads((folder / "evaluation" / "metrics.json").read_text())["standard"]["f1"] == f1
    assert not (folder / "evaluation" / "figures" / "stale.png").exists()
    assert served_version(folder / "serving" / MODEL_NAME) == before


def test_a_model_that_is_not_blessed_is_not_pushed(finished, run_again: Run) -> None:
    """The reason is named, and the served version stays."""
    folder, _ = finished
    base_path = folder / "serving" / MODEL_NAME
    before = served_version(base_path)
    strict = folder.parent / "strict.toml"
    strict.write_text('[[threshold]]\nmetric = "f1"\nat_least = 2.0\n')

    place = f'thresholds = "{strict}"\nrun_dir = "{folder / "strict"}"'
    status, console = run_again(lambda text: re.sub(r'thresholds = ".*"', place, text))
    assert status == FAIL, console
    (line,) = (line for line in console if line.startswith("== stopped"))
    assert re.search(r"by bless: NOT_BLESSED: f1, overall: \d\.\d+, required at least 2", line)
    assert served_version(base_path) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[trian]\n", r"expected run_dir, installation and tables of data, .*, got 'trian'"),
        ("[train]\nepoch = 2\n", r"\[train\]: expected the name of an option, got 'epoch'"),
        ("[train]\nepochs = 'two'\n", r"\[train\]: epochs: expected a whole number, got 'two'"),
        ("[push]\nlabel = 7\n[evaluate]\nscenes = 9\n[bless]\nscenes = 1\n", r"\[push\]: label: expected .*, got 7"),
        ("[push]\n", r"\[push\]: expected also a table \[bless\]"),
        (
            "[evaluate]\nscenes = 400\n[bless]\nscenes = 200\n",
            "at most 500 test scenes together, got 400 and 200",
        ),
        ("epochs = \n", "run.toml: expected a TOML file, got: Invalid value"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text if "epochs = \n" in text else f'{text}[data]\nconfig = "l64_m64_small"\n')
    with pytest.raises(ValueError, match=said):
        steps(read_run_file(path))


def test_options_and_their_command_line_are_one() -> None:
    """Defaults are left out; all other options round-trip."""
    import tyro

    train = TrainOptions(Path("a"), config=("x", "y"), batch_size=8, initial=Path("b"))
    evaluate = EvaluateOptions(Path("c"), saved_model=Path("d"), figures=False, scenes=7)
    track = MlflowOptions(Path("e"), experiment="f")
    for options in (train, evaluate, track):
        given = arguments(options)
        assert plain(tyro.cli(type(options), args=given)) == plain(options)
    assert arguments(evaluate) == ["--output-dir", "c", "--saved-model", "d", "--scenes", "7", "--no-figures"]
    assert arguments(track) == ["e", "--experiment", "f"]


def test_a_plan_stops_at_the_first_step_that_is_to_run() -> None:
    """Later steps are not checked, because their inputs will change."""

    def never() -> bool:
        pytest.fail("looked at")

    def missing() -> bool:
        raise FileNotFoundError

    looks = {"a": lambda: True, "b": missing, "c": never}
    plan = make_plan([Step(name, None, (), is_done, 1) for name, is_done in looks.items()])
    assert [planned.is_done for planned in plan] == [True, False, False]


def test_durations() -> None:
    assert [duration(seconds) for seconds in (8, 100, 7200)] == ["8 s", "2 min", "2.0 h"]


def test_a_stage_is_a_process_whose_lines_are_passed_on(caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    monkeypatch.syspath_prepend(ROOT)  # the process has this path, and tests/serving/ has a module `models`
    caplog.set_level(logging.INFO)
    logger = logging.getLogger("test")
    assert processes.run_process("train", ["--help"], logger) == 0
    assert "usage: python -m pipeline.train " in caplog.text
    assert processes.run_process("train", ["--run-dir", "x", "--epochs", "0"], logger) == ERROR


def test_importing_the_stages_starts_nothing_that_a_fork_would_lack() -> None:
    """TensorFlow's runtime starts with the first operation; a process forked after that would hang."""
    look = (
        "import pipeline.run.preloaded; from tensorflow.python.eager import context; "
        "print(context.context()._context_handle)"
    )
    assert subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout == "None\n"


def test_steps_that_do_not_need_each_other_run_at_the_same_time(monkeypatch) -> None:
    """And a verdict that stops the run lets those end that run already, and starts no other one."""
    both, ran = threading.Barrier(2, timeout=60), []

    def run_process(stage: str, given: Sequence[str], logger: logging.Logger) -> int:
        if stage in ("evaluate", "bless"):
            both.wait()
        ran.append(stage)
        return FAIL if stage == "bless" else 0

    monkeypatch.setattr(execution, "run_process", run_process)
    monkeypatch.setattr(execution, "arguments", lambda options: [])
    monkeypatch.setattr(execution, "_steps_at_a_time", lambda: 2)
    monkeypatch.setattr(Step, "stops", lambda step: "NOT_BLESSED" if step.name == "bless" else None)
    needs = {"export": (), "evaluate": ("export",), "bless": ("export",), "push": ("bless",)}
    plan = {name: Planned(Step(name, None, after, lambda: False, 1), False) for name, after in needs.items()}
    spent: dict[str, float] = {}
    assert execution._run_steps(plan, spent, logging.getLogger("test")) == "bless: NOT_BLESSED"
    assert ran[0] == "export" and sorted(ran[1:]) == ["bless", "evaluate"] == sorted(set(spent) - {"export"})


def test_a_stage_ends_with_its_run(tmp_path: Path) -> None:
    """However the run ends: here it is killed."""
    config = tmp_path / "run.toml"
    config.write_text(f'run_dir = "{tmp_path}"\n[data]\nconfig = "l64_m64_30000_10_10"\nprocesses = 1\n')
    run = subprocess.Popen([sys.executable, "-m", "pipeline.run", str(config)], stdout=subprocess.PIPE)

    def writers() -> list[Path]:
        """The processes that write the log of the stage."""
        logs = {str(log) for log in (tmp_path / "data" / "logs").glob("*.log")}
        return [link.parents[1] for link in Path("/proc").glob("[0-9]*/fd/*") if _target(link) in logs]

    try:
        wait_until(lambda: bool(writers()))
    finally:
        run.kill()
        run.communicate()
    wait_until(lambda: not writers(), 60)


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:  # the process has ended
        return ""
