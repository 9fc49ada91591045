"""Commands of README and docs are ones: every line that calls a stage is read by its parser."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from pipeline.common.main import parse
from pipeline.common.stages import STAGES, module
from pipeline.running.run_file import read_run_file
from pipeline.running.steps import steps

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")))
MODULES = {module(stage): stage for stage in STAGES}
_CALL = re.compile(r"(?:python -m (pipeline\.[\w.]+)|ris-mvdr (\w+))((?: [^`|\n#]*)?)")


def commands(page: str) -> list[tuple[str, list[str]]]:
    """(stage, arguments) of every call on a page; STAGE and NAME stand for any."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    found = []
    for name, stage, rest in _CALL.findall(text):
        if name.rpartition(".")[2].isupper() or stage.isupper():
            continue
        assert (name in MODULES) or (stage in STAGES), f"{page}: no stage {name or stage}"
        found.append((stage or MODULES[name], shlex.split(rest.split(" && ")[0].replace("$PWD/", ""))))
    return found


def test_there_are_some() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 40


@pytest.mark.parametrize("page", PAGES)
def test_options_are_ones(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for stage, arguments in commands(page):
        if not arguments or "..." in arguments:
            continue
        options = options_of(stage)
        try:
            parse(stage, options, arguments)
        except SystemExit as stop:
            assert stop.code == 0 and "--help" in arguments
        except ValueError as error:
            pytest.fail(f"{page}: {stage} {shlex.join(arguments)}: {error}")


def options_of(stage: str) -> type:
    """The dataclass of a stage's options."""
    stage_module = importlib.import_module(module(stage))
    name = "".join(part.capitalize() for part in stage.split("_")) + "Options"
    found = getattr(stage_module, name)
    assert isinstance(found, type)
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "runs").glob("*.toml")), ids=lambda path: path.name)
def test_run_files_are_ones(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's among them: its options are taken, and what it names is there."""
    monkeypatch.chdir(ROOT)
    if path.stem.endswith("_thresholds"):
        return
    assert [step.name for step in steps(read_run_file(path))][-1] == "locate"
