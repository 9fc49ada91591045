"""The quick tier (`make test`) covers every stage and every promise of the README.

Tests of the second tier have the marker `extended`. Tests say with the markers `stage` and `promise` what they prove.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from pipeline.common.stages import STAGES

ROOT = Path(__file__).resolve().parents[1]
FIGURES = "measured figures"
PROMISES: dict[str, tuple[str, ...]] = {
    "several sources": (
        "locates several radio transmitters in 3-D",
        "Circles are true sources, crosses are found ones",
        "A source is a hit within",
    ),
    "unknown number": ("their number need not be known", "near-field sources in unknown number"),
    "errors and scores": ("a position, a confidence and an error covariance", "ellipses are the errors"),
    "own surface": ("for your own surface without training", "one set of weights serves all installations"),
    "python": ("import ris_mvdr", "from Python", "[Python API]"),
    "model server": ("a model server", "serving over gRPC and REST", "[built-in server]", "[client]"),
    "tensorflow serving": ("everything is in one SavedModel", "[TensorFlow Serving]", "[check a server]"),
    "pretrained weights": ("this localizer, pretrained weights", "[model card]", "weak signals"),
    "demo": (
        "make demo",
        "simulate, train, evaluate, export, serve and locate new scenes",
        "trains from scratch on a small problem",
        "compares the trained model with the untrained one",
        "writes the exported model",
        "[runs from one file]",
    ),
    "make": ("make test", "Python 3.11, 3.12 or 3.13", "set up `.venv`"),
    "notebook": ("[quickstart notebook]", "[notebook]"),
    "tutorial": ("[tutorial]",),
    "pages": ("[Concepts]", "`make docs` builds the pages", "[all stages]", "[where the code is]", "[extend]"),
    "default scenes": ("By default a scene has L = 64 snapshots", "scene-sets"),
    "R_pred": ("predicts the covariance R_pred", "MVDR on R_pred alone"),
    "R_eff": ("shrinkage turns it into R_eff",),
    "MVDR": ("An MVDR layer computes a spectrum", "MVDR on R_true"),
    "off-grid refinement": ("refined off the grid",),
    "refiner": ("An optional SpectrumRefiner", "[refiner]"),
    "untrained": ("Without training the estimator is a classical one", "this localizer, untrained"),
    "inexact channel": ("an error of H of up to",),
    "low-rank channels": ("low-rank channels",),
    "calibration": ("it [calibrates]", "[calibrate]"),
    "paired intervals": ("with paired intervals",),
    "sequential maximum likelihood": ("sequential maximum likelihood (`--baseline",),
    "effort": ("`--effort fast`",),
    "bound": ("[accuracy to expect]",),
    "import": ("[import]", "[Sionna RT]", "[DeepMIMO]"),
    FIGURES: (
        "The picture shows five of",
        "F1 is",
        "All figures on this page",
        "The table shows",
        "pretrained minus untrained",
        "pretrained minus sequential maximum likelihood",
        "Training helps more",
        "times faster",
        "measures these figures again",
        "[figures]",
    ),
    "license": ("Apache-2.0",),
}
"""Promises, and the phrases of the README that make them. Digits do not count."""
LIMITS = (
    "unknown channels or codes",
    "wideband signals and tracking",
    "evidence from field measurements",
)
"""Phrases that say what it does not do."""
_FENCED = re.compile(r"^```.*?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADLINE = re.compile(r"^(?:#|!\[).*$", re.MULTILINE)
_FIGURES = re.compile(r"\d[\d.,]*")
_LABEL = re.compile(r"[\w ]+:")


def claims(text: str) -> list[str]:
    """What the README says: commands, sentences, cells of tables, entries of lists."""
    found: list[str] = []
    for code in _FENCED.findall(text):
        found += [code] if "import " in code else code.splitlines()
    for block in re.split(r"\n\s*\n", _HEADLINE.sub("\n\n", _FENCED.sub("\n\n", text))):
        if block.strip().startswith("|"):
            found += [cell for row in block.strip().splitlines()[2:] for cell in row.strip("|").split("|")]
        else:
            found += re.split(r"(?<=[.:])\s+(?=[^a-z\s])|^- ", block, flags=re.MULTILINE)
    normal = (" ".join(claim.split()) for claim in found)
    return [claim for claim in normal if re.search("[a-z]{2}", claim) and not _LABEL.fullmatch(claim)]


def numberless(text: str) -> str:
    return _FIGURES.sub("#", text)


def makes(claim: str, phrases: Iterable[str]) -> bool:
    """Whether a claim has one of the phrases."""
    return any(numberless(phrase) in numberless(claim) for phrase in phrases)


def uncovered(items: Iterable[pytest.Item], marker: str, names: Iterable[str]) -> set[str]:
    """Those of the names that no test of the quick tier has in a marker."""
    quick = [item for item in items if item.get_closest_marker("extended") is None]
    return set(names) - {name for item in quick for mark in item.iter_markers(marker) for name in mark.args}


@pytest.fixture
def items(collected: list[pytest.Item]) -> list[pytest.Item]:
    """All tests there are."""
    if {item.path for item in collected} != set((ROOT / "tests").rglob("test_*.py")):
        pytest.skip("needs a run of all tests")
    return collected


def test_every_stage_has_a_quick_test(items: list[pytest.Item]) -> None:
    assert uncovered(items, "stage", STAGES) == set()


def test_every_promise_has_a_quick_test(items: list[pytest.Item]) -> None:
    assert uncovered(items, "promise", PROMISES) == set()


def test_markers_name_stages_and_promises(items: list[pytest.Item]) -> None:
    for marker, names in (("stage", STAGES), ("promise", PROMISES)):
        named = {name for item in items for mark in item.iter_markers(marker) for name in mark.args}
        assert named <= set(names), marker


def test_a_tier_that_lost_a_test_is_noticed(items: list[pytest.Item]) -> None:
    """A new stage or promise, and one whose quick tests are all gone."""
    assert uncovered(items, "stage", [*STAGES, "telepathy"]) == {"telepathy"}
    left = [item for item in items if "train" not in [n for mark in item.iter_markers("stage") for n in mark.args]]
    assert "train" in uncovered(left, "stage", STAGES)
    extended = [item for item in items if item.get_closest_marker("extended") is not None]
    assert uncovered(extended, "stage", STAGES) == set(STAGES)


@pytest.mark.promise("make")
def test_what_the_readme_says_is_listed_here() -> None:
    """A new sentence of the README belongs to a promise; a phrase that the README lost is removed here."""
    said = claims((ROOT / "README.md").read_text(encoding="utf-8"))
    phrases = [*LIMITS, *(phrase for some in PROMISES.values() for phrase in some)]
    assert [claim for claim in said if not makes(claim, phrases)] == []
    assert [phrase for phrase in phrases if not any(makes(claim, [phrase]) for claim in said)] == []


def test_a_new_promise_is_noticed() -> None:
    said = claims("# Title\n\nIt locates 7 radios. It also sings.\n\n| a | b |\n|---|---|\n| it dances | 0.9 |\n")
    assert said == ["It locates 7 radios.", "It also sings.", "it dances"]
    assert makes(said[0], ["locates 3 radios"]) and not makes(said[1], ["locates 3 radios"])


@pytest.mark.promise("make")
def test_the_tiers_are_all_tests_and_run_once_each() -> None:
    """`make check` is what CI runs."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipes = dict(re.findall(r"^(test[\w-]*): install\n\t\$\(PYTEST\)(.*)$", makefile, re.MULTILINE))
    assert recipes == {"test": ' -m "not extended"', "test-extended": " -m extended", "test-all": ""}
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r"^make (test.*)$", ci, re.MULTILINE) == ["test", "test-extended"]
    assert "\ncheck:\n\t.ci/run\n" in makefile


@pytest.mark.promise("make", "license")
def test_readme_and_project_name_the_same_versions_and_license() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'requires-python = ">=3.11,<3.14"' in project
    versions = re.findall(r"Python :: (3\.\d+)", project)
    assert versions == ["3.11", "3.12", "3.13"]
    assert 'license = "Apache-2.0"' in project
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Python 3.11, 3.12 or 3.13" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "Makefile").read_text(encoding="utf-8")
