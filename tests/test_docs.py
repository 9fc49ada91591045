"""Commands of the docs are ones, read by the parsers of their stages; links lead somewhere, the menu is whole."""

import ast
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.common.main import parse
from pipeline.common.stages import STAGES, module
from pipeline.run.run_file import read_run_file
from pipeline.run.steps import steps

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")))
MODULES = {module(stage): stage for stage in STAGES}
MOST_README_LINES = 100
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
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


@pytest.mark.promise("tutorial", "pages")
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
    stage_module = importlib.import_module(f"{module(stage)}.options")
    name = "".join(part.capitalize() for part in stage.split("_")) + "Options"
    found = getattr(stage_module, name)
    assert isinstance(found, type)
    return found


def test_the_demo_begins_where_training_pays() -> None:
    """From nothing, without time to search what the first atoms leave; it changed nothing once."""
    train = tomllib.loads((ROOT / "docs" / "runs" / "demo.toml").read_text(encoding="utf-8"))["train"]
    assert "initial" not in train
    assert train["backbone"]["refinement"]["additions"] == 0


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "runs").glob("*.toml")), ids=lambda path: path.name)
def test_run_files_are_ones(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's among them: its options are taken, and what it names is there."""
    monkeypatch.chdir(ROOT)
    if path.stem.endswith("_thresholds"):
        return
    assert [step.name for step in steps(read_run_file(path))][-1] == "locate"


def prose(path: Path) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", _FENCED.sub("", path.read_text(encoding="utf-8")))


def anchors(path: Path) -> set[str]:
    """What the headings of a page are called in links, as GitHub does and MkDocs."""
    headings = _HEADING.findall(_FENCED.sub("", path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.promise("pages")
@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_are_there(page: str) -> None:
    for link in _LINK.findall(prose(ROOT / page)):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.is_file(), f"{page}: {link}"
        assert not anchor or anchor in anchors(target), f"{page}: {link}"


def test_pages_do_not_leave_the_site() -> None:
    """README may link anything of the repository; a page only what the site has, too."""
    for page in PAGES[1:]:
        assert not [link for link in _LINK.findall(prose(ROOT / page)) if link.startswith("..")], page


def pages_of(menu: Any) -> Iterator[str]:
    """The pages that a nav of mkdocs.yml names, in order."""
    if isinstance(menu, str):
        yield menu
    else:
        for entry in menu.values() if isinstance(menu, dict) else menu:
            yield from pages_of(entry)


def test_every_page_is_in_the_menu_once() -> None:
    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    there = [
        path.relative_to(ROOT / "docs").as_posix()
        for path in (ROOT / "docs").rglob("*")
        if path.suffix in (".md", ".ipynb")
    ]
    assert sorted(pages_of(menu)) == sorted(there)


def test_documented_modules_are_there() -> None:
    """What the pages of the API ask mkdocstrings for."""
    for page in PAGES:
        for name in re.findall(r"^::: ([\w.]+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE):
            module_name, _, attribute = name.rpartition(".")
            named = attribute[0].isupper()
            found = importlib.import_module(module_name if named else name)
            assert not named or hasattr(found, attribute), f"{page}: {name}"


@pytest.mark.parametrize("page", PAGES)
def test_imports_in_examples_are_there(page: str) -> None:
    """What Python examples import of the project exists."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for code in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and re.match(
                r"(models|pipeline|serving|tfds_shards)\b", node.module or ""
            ):
                found = importlib.import_module(str(node.module))
                for alias in node.names:
                    assert hasattr(found, alias.name), f"{page}: {node.module}.{alias.name}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MOST_README_LINES


@pytest.mark.promise("tutorial")
def test_the_tutorial_shows_its_installation_file() -> None:
    shown = re.search(r"```toml\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    assert tomllib.loads(shown[1]) == tomllib.loads((ROOT / "docs/installations/lab.toml").read_text(encoding="utf-8"))
