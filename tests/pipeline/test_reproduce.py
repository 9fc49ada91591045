"""Figures are read from pages, wrong ones are detected, correct ones agree, and measurements are kept."""

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from pipeline.common.main import FAIL
from pipeline.metrics.evaluation import Evaluation
from pipeline.reproduce import __main__ as stage
from pipeline.reproduce import runner
from pipeline.reproduce.agreement import Measured, agrees, measured, tolerance, wilson_interval
from pipeline.reproduce.claims import Claim, read_claims
from pipeline.reproduce.names import names
from pipeline.reproduce.options import ReproduceOptions
from pipeline.reproduce.pages import Quoted, figure_after, figures, table_cells
from tests.estimates import evaluated, noisy, perfect, random_scenes, silent
from tests.simulated import batch_of

LOGGER = logging.getLogger(__name__)
PAGE = """
| estimator | F1 (95 %) | rmse / median |
|---|---|---|
| a | 0.910 [0.902, 0.918] | 0.38 / 0.08 |
| b | {f1} | 0.39 / 0.09 |

Minus the other, paired: F1
+0.040 [\u22120.034, +0.047], in words.
"""
TABLE = """
page = "page.md"
header = "estimator | F1"
config = "l64_m64"
scenes = 8
[rows]
"a" = {estimator = "--oracle", figures = []}
"b" = {estimator = "--oracle"}
[columns]
"F1 (95 %)" = {}
"rmse / median" = {figures = []}
"""
CLAIM = Claim("t", "here", Quoted(0.9, None, 0.0005), "ours", "l64_m64", 100)

# Pages


def test_figures_are_read_as_printed() -> None:
    cells = table_cells(PAGE, "estimator | F1")
    assert figures(cells["a", "F1 (95 %)"]) == [Quoted(0.910, (0.902, 0.918), 0.0005)]
    assert [quoted.value for quoted in figures(cells["a", "rmse / median"])] == [0.38, 0.08]
    assert figure_after(PAGE, "paired: F1") == Quoted(0.040, (-0.034, 0.047), 0.0005)


@pytest.mark.parametrize("after", ["nowhere", "in", "Minus"])
def test_a_sentence_without_its_figure_is_refused(after: str) -> None:
    with pytest.raises(ValueError, match="after: expected"):
        figure_after(PAGE, after)


@pytest.mark.promise("measured figures")
def test_the_tables_fit_their_pages() -> None:
    claims = {name: read_claims(name) for name in names()}
    assert set(claims) == {"readme", "impaired", "conditions", "worlds"}
    assert all(len({claim.where for claim in found}) >= 3 for found in claims.values())
    first = claims["readme"][0]
    assert (first.estimator, first.config, first.scenes, first.figure) == ("ours", "l64_m64", 2000, "f1")
    assert any(claim.minus for claim in claims["worlds"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"b" =', '"c" =', "rows: expected those of the page, got others: 'b'"),
        ("scenes = 8", "scenes = 8\nscens = 9", "scens: unknown, expected one of estimator, "),
        ('"l64_m64"', '"l64"', "config: expected one of .*, got 'l64'"),
        ('"F1 (95 %)" = {}', '"F1 (95 %)" = {figures = ["f1", "recall"]}', "expected 2 figures on the page, got 1"),
        ("estimator | F1", "somebody", "header: expected one table"),
        ("scenes = 8", "", "scenes: expected a value, got none"),
    ],
)
def test_a_file_that_does_not_fit_its_page_is_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(PAGE.format(f1="1.000"))
    (tmp_path / "t.toml").write_text(TABLE.replace(old, new).replace(", figures = []}", "}"))
    with pytest.raises(ValueError, match=said) as refusal:
        read_claims("t", tmp_path, tmp_path)
    assert str(tmp_path / "t.toml") in str(refusal.value) and "\n" not in str(refusal.value)


# Agreement


@pytest.fixture(scope="module")
def answers() -> tuple[Evaluation, Evaluation]:
    scenes = random_scenes(300, seed=3)
    return evaluated(scenes, noisy(scenes, 1)), evaluated(scenes, silent(300))


@pytest.mark.stage("reproduce")
def test_figures_are_the_evaluations_own(answers: tuple[Evaluation, Evaluation]) -> None:
    evaluation, nothing = answers
    for name in ("f1", "precision", "recall", "rmse_xyz_m"):
        found = measured(dataclasses.replace(CLAIM, figure=name), evaluation)
        assert found.value == pytest.approx(float(getattr(evaluation.standard.total(), name)))
        assert found.low < found.value < found.high
    middle = measured(dataclasses.replace(CLAIM, figure="median_error_m"), evaluation)
    errors = evaluation.table.position_error_m[evaluation.table.is_pair]
    assert middle.value == pytest.approx(np.median(errors)) and middle.low < middle.value < middle.high
    quiet = measured(dataclasses.replace(CLAIM, snr_db=(-100.0, 5.0)), evaluation)
    assert quiet.value == pytest.approx(float(evaluation.standard.select(evaluation.snr_db < 5.0).total().f1))
    assert measured(CLAIM, evaluation, evaluation) == Measured(0.0, 0.0, 0.0)
    assert measured(CLAIM, evaluation, nothing).value == pytest.approx(measured(CLAIM, evaluation).value)


def test_a_perfect_answer_is_not_perfectly_sure() -> None:
    scenes = random_scenes(60, seed=1)
    found = measured(CLAIM, evaluated(scenes, perfect(scenes)))
    assert found.value == 1.0 and 0.9 < found.low < 0.98
    low, high = wilson_interval(0.5, 100.0)
    assert (low, high) == pytest.approx((0.3757, 0.6243), abs=1e-3)  # 0.5 -+ 2.576 * 0.5 / sqrt(100 + 2.576^2)


def test_what_agrees() -> None:
    found = Measured(0.90, 0.87, 0.92)
    assert tolerance(Quoted(0.8, (0.79, 0.81), 0.0), found, 1.0) == pytest.approx(np.hypot(0.03, 0.01 * 1.3143), 1e-3)
    assert tolerance(Quoted(0.95, None, 0.005), found, 0.25) == pytest.approx(np.hypot(0.02, 0.0125) + 0.005)
    assert agrees(Quoted(0.875, (0.865, 0.885), 0.0005), found, 1.0)
    assert not agrees(Quoted(0.85, (0.845, 0.855), 0.0005), found, 1.0)
    unseen = Measured(0.0, 0.0, 0.0)  # a paired difference that is zero in every scene
    assert agrees(Quoted(0.011, (0.008, 0.014), 0.0005), unseen, 60 / 2000)
    assert not agrees(Quoted(0.011, (0.008, 0.014), 0.0005), unseen, 1.0)
    assert not agrees(Quoted(0.9, None, 0.0005), Measured(np.nan, np.nan, np.nan), 1.0)


def test_the_first_test_holds_as_often_as_it_says() -> None:
    """Two independent measurements of the same share disagree in about one of a hundred cases."""
    rng = np.random.default_rng(0)
    apart = 0
    for few, many in rng.binomial((200, 4000), 0.8, (2000, 2)) / (200, 4000):
        low, high = wilson_interval(few, 200.0)
        half = 1.96 * np.sqrt(many * (1 - many) / 4000)
        apart += not agrees(Quoted(many, (many - half, many + half), 0.0), Measured(few, low, high), 1.0)
    assert 0.003 < apart / 2000 < 0.02


# Whole reproductions


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A page that quotes F1, and its table. --quick takes four scenes, and the estimator returns the truth."""
    monkeypatch.setattr(runner, "QUICK_SCENES", 4)
    monkeypatch.setattr(runner, "make", lambda name, scenario: perfect)
    monkeypatch.setattr(runner, "read_claims", lambda name: read_claims(name, tmp_path, tmp_path))
    monkeypatch.setattr("pipeline.reproduce.options.names", lambda: ["t"])
    (tmp_path / "t.toml").write_text(TABLE)

    def quoting(f1: str) -> ReproduceOptions:
        (tmp_path / "page.md").write_text(PAGE.format(f1=f1))
        return ReproduceOptions("t", quick=True, output_dir=tmp_path / "out")

    return quoting


def test_a_false_figure_is_found(table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stage.main.work(table("0.990 [0.985, 0.995]"), LOGGER) is None
    monkeypatch.setattr(runner, "make", None)  # answers are kept, figures read anew
    assert stage.main.work(table("0.300 [0.290, 0.310]"), LOGGER) == FAIL
    (row,) = json.loads((tmp_path / "out" / "reproduction.json").read_text())["rows"]
    assert row["quoted"]["value"] == 0.3 and row["measured"]["value"] == 1.0 and row["agrees"] is False
    assert runner.line(row).startswith("DIFFERS b, F1 (95 %), f1: quoted 0.3 [0.29, 0.31] of 8, measured 1.000 [")


def test_each_estimator_runs_once_with_as_many_scenes_as_it_takes() -> None:
    claims = [dataclasses.replace(CLAIM, scenes=count, minus=minus) for count, minus in ((30, None), (80, "--oracle"))]
    assert {(row.estimator, row.scenes) for row in runner.needed(claims, quick=False)} == {
        ("ours", 80),
        ("--oracle", 80),
    }
    assert {row.scenes for row in runner.needed(claims, quick=True)} == {60}


def test_scenes_are_the_stored_ones_and_options_those_of_evaluate() -> None:
    config = runner.CONFIGS["l64_m64"]
    first, expected = next(runner.first_batches(config, 2)), batch_of(2)
    np.testing.assert_array_equal(first["snapshots"], expected["snapshots"])
    assert set(runner.make("--oracle", config.scenario)(expected)) > {"num_sources", "position_m"}


def test_an_unknown_table_is_refused(refused, tmp_path: Path) -> None:
    line = refused("reproduce", "nowhere", "--output-dir", tmp_path / "out")
    assert line.startswith("TABLE: expected all or one of conditions, impaired, readme, worlds, got 'nowhere'")
