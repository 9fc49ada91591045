"""Stages as commands: fast help, one-line errors, exit statuses, log files and a quiet console."""

import dataclasses
import logging
import os
import subprocess
import sys
import tomllib
import warnings
from importlib import import_module
from pathlib import Path

import pytest

from models.checked import AtLeast1, stage_options
from pipeline.__main__ import main
from pipeline.common.main import ERROR, FAIL, INTERRUPTED, run_stage
from pipeline.common.stages import RENAMED, STAGES, module

ROOT = Path(__file__).resolve().parents[2]
ASK_ALL_FOR_HELP = """
import importlib, io, contextlib, sys
from pipeline.common.stages import STAGES, entry_point, module
for stage in STAGES:
    sys.argv = [stage, "--help"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            importlib.import_module(entry_point(stage)).main()
    except SystemExit as stop:
        assert stop.code == 0, (stage, stop.code)
    assert f"usage: python -m {module(stage)} " in said.getvalue(), said.getvalue()
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_every_stage_is_listed_and_says_what_it_does() -> None:
    assert {path.parent.name for path in (ROOT / "pipeline").glob("*/__main__.py")} == set(STAGES)
    for stage in STAGES:
        said = import_module(module(stage)).__doc__ or ""
        assert said.startswith((f"`ris-mvdr {stage}`: ", f"`ris-mvdr {stage} "))


def test_help_imports_nothing_heavy() -> None:
    command = [sys.executable, "-c", ASK_ALL_FOR_HELP]
    imported = set(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())
    assert {"tyro", "pipeline"} <= imported
    assert imported.isdisjoint({"tensorflow", "keras", "keras_tuner", "tensorflow_datasets", "matplotlib", "grpc"})


WITH_INSTALLATION = """
import sys
from pipeline.__main__ import main
sys.argv = ["ris-mvdr", *sys.argv[1:]]
try:
    main()
except SystemExit:
    print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["data"],
        ["train", "--run-dir", "x"],
        ["evaluate", "--output-dir", "x", "--oracle"],
        ["export", "--model-base-path", "x"],
        ["calibrate", "--input", "x", "--output", "x.npz"],
        ["import_data", "--map", "x", "--output", "x.npz"],
        ["run", "x.toml"],
        ["run", "run.toml"],
        ["locate", "--model-base-path", "x", "--output", "x.npz"],
        ["view", "--target", "x"],
    ],
)
def test_a_typing_error_in_an_installation_file_is_refused_before_anything_heavy(
    arguments: list[str], tmp_path: Path
) -> None:
    site = tmp_path / "site.toml"
    site.write_text("[array]\nrow = 3\n")
    (tmp_path / "run.toml").write_text('installation = "site.toml"')
    told = [] if arguments == ["run", "run.toml"] else ["--installation", str(site)]
    command = [sys.executable, "-c", WITH_INSTALLATION, *arguments, *told]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    (line,) = done.stderr.splitlines()
    place = f"--installation: {site}" if told else "run.toml: installation: site.toml"
    assert line.startswith(f"pipeline.{arguments[0]}: {place}: array.row: unknown, expected one of rows, ")
    assert set(done.stdout.split()).isdisjoint({"tensorflow", "keras"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.toml", "site.toml"]


def test_the_console_script_is_the_same_command() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["ris-mvdr"].partition(":")
    assert getattr(import_module(module), function) is main


def test_alone_it_lists_the_stages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["ris-mvdr"])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(STAGES)


def test_a_stage_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["ris-mvdr", "trian"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ris-mvdr: expected a stage, one of run, data, ")
    assert line.endswith("got 'trian'")


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_is_one_line_with_the_new_one(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ris-mvdr", old])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert f"ris-mvdr {new}" in line
    done = subprocess.run([sys.executable, "-m", f"pipeline.{old}"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (ERROR, f"{line}\n")


def test_it_passes_options_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["ris-mvdr", "train", "--run-dir", "x", "--epochs", "0"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == ERROR
    expected = "pipeline.train: --epochs: expected 1 or more, got 0; ris-mvdr train --help explains the options\n"
    assert capsys.readouterr().err == expected


# A stage for these tests


@stage_options(frozen=True)
class Options:
    """Does nothing."""

    out: Path
    """Where the log goes."""
    depth: AtLeast1 = 1
    """Of something."""


def run(monkeypatch: pytest.MonkeyPatch, work, *arguments: object) -> int:
    """Runs the stage and returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["nothing", *map(str, arguments)])
    try:
        run_stage("nothing", Options, work, lambda options: options.out / "logs")
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        return stop.code
    return 0


def refuse(error: BaseException):
    """The work of a stage that raises an error."""

    def work(options: Options, logger: logging.Logger) -> None:
        raise error

    return work


def log_of(folder: Path) -> str:
    (path,) = (folder / "logs").iterdir()
    return path.read_text()


@pytest.mark.parametrize(("verdict", "status"), [(None, 0), (FAIL, FAIL)])
def test_a_verdict_is_the_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict, status: int) -> None:
    assert run(monkeypatch, lambda options, logger: verdict, "--out", tmp_path) == status
    assert log_of(tmp_path)


def test_errors_have_a_status_of_their_own() -> None:
    assert len({0, FAIL, ERROR, INTERRUPTED}) == 4


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("--out: expected more,\ngot less"), ERROR, "--out: expected more,"),
        (OSError("disk full"), ERROR, "disk full"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
        (AttributeError("no such thing"), ERROR, "AttributeError: no such thing (traceback in {log})"),
    ],
)
def test_an_error_is_one_line_and_its_traceback_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, error: BaseException, status: int, line: str
) -> None:
    assert run(monkeypatch, refuse(error), "--out", tmp_path) == status
    (log,) = (tmp_path / "logs").iterdir()
    assert capsys.readouterr().err == f"pipeline.nothing: {line.format(log=log)}\n"
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "Missing from python -m pipeline.nothing: --out PATH"),
        (("--out", "x", "--depth", "deep"), "--depth: invalid literal for int() with base 10: 'deep'; python -m"),
        (("--out", "x", "--depth", "0"), "--depth: expected 1 or more, got 0; python -m pipeline.nothing --help"),
        (("--out", "x", "--dept", "3"), "Unrecognized options: --dept, 3; python -m pipeline.nothing --help"),
    ],
)
def test_bad_options_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys, arguments: tuple[str, ...], line: str
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert run(monkeypatch, lambda options, logger: None, *arguments) == ERROR
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"pipeline.nothing: {line}")
    assert os.environ["COLUMNS"] == "20"


def test_options_win_over_defaults_that_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def instead(options: Options) -> Options:
        return dataclasses.replace(options, depth=7)

    for arguments in ([], ["--depth", "3"]):
        monkeypatch.setattr(sys, "argv", ["nothing", "--out", str(tmp_path), *arguments])
        run_stage(
            "nothing", Options, lambda options, logger: seen.append(options.depth), lambda options: options.out, instead
        )
    assert seen == [7, 3]


def noisy(options: Options, logger: logging.Logger) -> None:
    """Writes a message in every way that a library can."""
    os.write(2, b"from the depths\n")
    logging.getLogger("tensorflow").warning("a library's logger")
    warnings.warn("a warning", stacklevel=1)
    print("a progress bar", file=sys.stderr)
    logger.info("what the stage says")


def test_what_libraries_say_goes_to_the_log_only(tmp_path: Path) -> None:
    code = (
        "import sys; from tests.pipeline.test_commands import *; "
        f"sys.argv = ['nothing', '--out', {str(tmp_path)!r}]; "
        "run_stage('nothing', Options, noisy, lambda options: options.out / 'logs'); print('after', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == "a progress bar\nafter\n"
    assert done.stdout.splitlines()[1:] == ["what the stage says"]
    log = log_of(tmp_path)
    for line in ("from the depths", "a library's logger", "a warning", "what the stage says"):
        assert log.count(line) >= 1
    assert "a progress bar" not in log
