"""Suites, rows of results, and benchmarks that are resumed or rejected."""

import csv
import dataclasses
import json
import logging
import math
import re
from pathlib import Path

import numpy as np
import pytest

from models.physics.geometry import RISArray, Scenario
from pipeline.benchmark import runner
from pipeline.benchmark.cells import Cell, cell_batches, cell_scenes, separation_beams
from pipeline.benchmark.estimators import EstimatorCache, applies
from pipeline.benchmark.figures import METRICS, plot_metric
from pipeline.benchmark.names import ESTIMATORS, FIXED_NUMBER, KNOWN, ON_DEMAND, SUITES, default_estimators
from pipeline.benchmark.options import BenchmarkOptions
from pipeline.benchmark.rows import measure, resolved
from pipeline.benchmark.suites import BASE, Suite, benchmark_suite
from pipeline.common.artifacts import Differs
from tests.estimates import evaluated, perfect, random_scenes, silent
from tests.simulated import batch_of as simulated
from tfds_shards.inputs import scene_batch
from tfds_shards.simulator import SceneConfig, simulate_scene

LOGGER = logging.getLogger(__name__)
LIGHT = ("chance", "back_projection", "mvdr_sample")
SMALL = Scenario(array=RISArray(6, 6), num_antennas=6, max_sources=2)
TINY = Suite(
    "snr",
    "SNR, dB",
    tuple(
        Cell(f"{db:g}", SceneConfig("tiny", SMALL, num_snapshots=16, snr_db=(db, db)), SMALL, db) for db in (0.0, 20.0)
    ),
)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite `snr` with two small cells and two figures."""
    monkeypatch.setattr(runner, "benchmark_suite", lambda name: TINY)
    monkeypatch.setattr(runner, "METRICS", {name: METRICS[name] for name in ("f1", "median_error_m")})


def options(folder: Path, **changes) -> BenchmarkOptions:
    return BenchmarkOptions(**{"suite": "snr", "output_dir": folder, "estimators": LIGHT, "scenes": 6} | changes)


# Suites


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_can_be_drawn(name: str) -> None:
    suite = benchmark_suite(name)
    assert suite.name == name and len({cell.label for cell in suite.cells}) == len(suite.cells) >= 3
    scenarios = {cell.label: cell.config.scenario for cell in suite.cells}
    for cell in suite.cells:
        assert cell.scenario.array == scenarios[cell.label].array
        assert (cell.num_sources is not None) == (name in FIXED_NUMBER)
    if suite.cells[0].value is not None:
        assert np.all(np.diff([cell.value for cell in suite.cells]) > 0)
    assert set(default_estimators(name)) <= set(ESTIMATORS)


def test_cells_of_an_axis_differ_in_nothing_else() -> None:
    first, last = (benchmark_suite("snr").cells[number] for number in (0, -1))
    quiet, loud = (next(cell_scenes(cell, seed=0)) for cell in (first, last))
    assert (quiet.snr_db, loud.snr_db) == (first.value, last.value)
    for name in ("azimuth", "range_m", "channel", "code_phase_index"):
        np.testing.assert_array_equal(getattr(quiet, name), getattr(loud, name))


def test_scenes_of_seed_zero_are_the_stored_ones() -> None:
    cell = Cell("base", BASE, BASE.scenario)
    batch, expected = cell_batches(cell, 2, 2, seed=0)[0], simulated(2)
    for name, value in expected.items():
        np.testing.assert_array_equal(batch[name], value)
    assert np.all(np.isfinite(batch["bound_m"]) == (np.arange(5) < batch["num_sources"][:, None]))
    assert not np.array_equal(cell_batches(cell, 1, 1, seed=1)[0]["channel"][0], batch["channel"][0])


def test_conditions_choose_scenes() -> None:
    fixed = benchmark_suite("sources").cells[2]
    assert cell_batches(fixed, 3, 2, seed=0)[1]["num_sources"].tolist() == [3]
    pair = benchmark_suite("separation").cells[3]
    scene = next(cell_scenes(pair, seed=0))
    low, high = pair.separation_beams
    assert scene.num_sources == 2 and low <= separation_beams(scene, RISArray()) < high
    apart = np.hypot(*np.diff([np.sin(scene.azimuth[:2]), np.sin(scene.elevation[:2])], axis=1)[:, 0])
    assert separation_beams(scene, RISArray()) == pytest.approx(apart * 6.0)  # 12 elements at lambda / 2: 1 / 6


def test_the_narrow_view_is_the_scenes_not_the_estimators() -> None:
    cell = benchmark_suite("range").cells[0]
    scene = next(cell_scenes(cell, seed=0))
    assert np.all((scene.range_m[: scene.num_sources] >= 0.5) & (scene.range_m[: scene.num_sources] <= 1.0))
    assert cell.scenario == Scenario()


# Estimators


def test_a_told_number_is_what_is_reported() -> None:
    cell = Cell("two", TINY.cells[0].config, SMALL, num_sources=2)
    batch = scene_batch([simulate_scene(cell.config, "test", 0)], 3)
    estimators = EstimatorCache(Path("unused.keras"))
    for name in KNOWN:
        assert estimators.get(name, cell)(batch)["num_sources"][0] == 2, name


def test_estimators_are_made_once_and_guesses_begin_anew() -> None:
    estimators, cell = EstimatorCache(Path("unused.keras")), TINY.cells[0]
    assert estimators.get("mvdr_sample", cell) is estimators.get("mvdr_sample", TINY.cells[1])
    batch = cell_batches(cell, 2, 2, seed=0)[0]
    first, second = (estimators.get("chance", cell)(batch)["range_m"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_music_is_left_out_where_the_surface_has_no_symmetry() -> None:
    cells = {cell.label: cell for cell in benchmark_suite("installations").cells}
    assert applies("modified_music", cells["28ghz"])
    assert not applies("modified_music", cells["missing_quarter"])
    assert applies("sbl", cells["missing_quarter"])


# Rows


def test_resolved_is_the_share_of_whole_scenes() -> None:
    scenes = random_scenes(20, seed=1)
    assert resolved(evaluated(scenes, perfect(scenes))) == (1.0, (1.0, 1.0))
    assert resolved(evaluated(scenes, silent(20)))[0] == 0.0
    half = {name: value.copy() for name, value in perfect(scenes).items()}
    half["num_sources"][:10] = 0
    share, (low, high) = resolved(evaluated(scenes, half))
    assert share == 0.5 and low < 0.5 < high


def test_a_row_has_no_value_where_there_is_none() -> None:
    cell = TINY.cells[0]
    batches = cell_batches(cell, 2, 2, seed=0)
    row = measure(cell, lambda batch: silent(len(batch["snr_db"])), batches)
    assert row["recall"] == 0.0 and math.isnan(row["precision"]) and math.isnan(row["median_error_m"])
    assert row["median_bound_all_m"] == pytest.approx(np.nanmedian(batches[0]["bound_m"]))
    assert row["seconds_a_scene"] is None  # the only batch includes tracing


@pytest.mark.parametrize("metric", METRICS)
def test_figures_show_every_estimator_and_stand_gaps(metric: str) -> None:
    cells = benchmark_suite("codebook").cells
    rows = [
        {"estimator": name, "label": cell.label, "scenes": 2, **dict.fromkeys(METRICS, 0.5), "median_bound_all_m": 0.1}
        for name in ESTIMATORS
        for cell in cells
    ]
    rows[0][metric] = None
    (axes,) = plot_metric(benchmark_suite("codebook"), rows, metric).axes
    expected = [*ESTIMATORS, "CRB"] if metric == "median_error_m" else list(ESTIMATORS)
    assert [line.get_label() for line in axes.get_lines()] == expected
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axes.get_lines()}
    assert len(looks) == len(expected)


# Whole benchmarks


def rows_of(folder: Path) -> list[dict]:
    """The stored rows without run times."""
    rows = json.loads((folder / "results.json").read_text())["rows"]
    return [{name: value for name, value in row.items() if name != "seconds_a_scene"} for row in rows]


@pytest.mark.stage("benchmark")
def test_a_stopped_benchmark_goes_on_and_ends_the_same(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runner.benchmark(options(tmp_path / "whole", batch_size=3), LOGGER)
    measured, left = [], iter([True, True, True, False])

    def stopping(cell, estimator, batches):
        if not next(left, True):
            raise KeyboardInterrupt
        measured.append(cell.label)
        return measure(cell, estimator, batches)

    monkeypatch.setattr(runner, "measure", stopping)
    with pytest.raises(KeyboardInterrupt):
        runner.benchmark(options(tmp_path / "stopped", batch_size=3), LOGGER)
    assert not (tmp_path / "stopped" / "results.csv").exists() and len(measured) == 3
    runner.benchmark(options(tmp_path / "stopped", batch_size=3), LOGGER)
    assert measured == ["0"] * 3 + ["20"] * 3
    assert rows_of(tmp_path / "stopped") == rows_of(tmp_path / "whole")
    runner.benchmark(options(tmp_path / "stopped", batch_size=3), LOGGER)
    assert len(measured) == 6  # complete: nothing is measured again
    assert re.search(r"scene/s|s/scene", capsys.readouterr().err)

    with (tmp_path / "stopped" / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [(row["estimator"], row["label"]) for row in table] == [(n, db) for n in LIGHT for db in ("0", "20")]
    by_name = {(row["estimator"], row["label"]): row for row in table}
    loud = by_name["back_projection", "20"]
    assert float(loud["f1_low"]) <= float(loud["f1"]) <= float(loud["f1_high"])
    assert float(loud["median_error_m"]) < float(by_name["chance", "20"]["median_error_m"])
    assert float(loud["median_bound_m"]) < float(by_name["back_projection", "0"]["median_bound_m"])
    assert float(loud["seconds_a_scene"]) > 0 and (loud["scenes"], loud["seed"]) == ("6", "0")
    assert {path.stem for path in (tmp_path / "stopped" / "figures").iterdir()} == set(runner.METRICS)
    record = json.loads((tmp_path / "stopped" / "results.json").read_text())
    assert record["options"]["scenes"] == 6 and "numpy" in record["versions"]


def test_other_options_are_refused_by_what_differs(tiny: None, tmp_path: Path) -> None:
    runner.benchmark(options(tmp_path, estimators=("chance",)), LOGGER)
    for changes, said in (({"seed": 1}, "--seed was 0, now 1"), ({"scenes": 7}, "--scenes was 6, now 7")):
        with pytest.raises(Differs, match=said) as refusal:
            runner.benchmark(options(tmp_path, estimators=("chance",), **changes), LOGGER)
        assert "\n" not in str(refusal.value)


def test_time_is_not_drawn_where_it_was_not_taken(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If all scenes are one batch, there is no run time, because the batch includes tracing."""
    monkeypatch.setattr(runner, "METRICS", {name: METRICS[name] for name in ("resolved", "seconds_a_scene")})
    rows = runner.benchmark(options(tmp_path, estimators=("chance",)), LOGGER)
    assert [row["seconds_a_scene"] for row in rows] == [None, None]
    assert [path.stem for path in (tmp_path / "figures").iterdir()] == ["resolved"]


def test_quick_is_few_scenes(tmp_path: Path) -> None:
    quick = BenchmarkOptions("snr", tmp_path, quick=True)
    assert (quick.scenes_a_cell, BenchmarkOptions("snr", tmp_path).scenes_a_cell) == (20, 200)
    assert dataclasses.replace(quick, seed=1).scenes == 20
    assert not {*ON_DEMAND, *KNOWN} & set(quick.estimators)
    assert set(KNOWN) <= set(BenchmarkOptions("sources", tmp_path).estimators)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--suite", "sbl"), "invalid choice 'sbl' for argument '--suite'"),
        (("--suite", "snr", "--scenes", "0"), "--scenes: expected 1 or more, got 0"),
        (("--suite", "snr", "--quick", "--scenes", "9"), "--scenes: expected none with --quick, got 9"),
        (("--suite", "snr", "--seed", "-1"), "--seed: expected 0 to 3999, got -1"),
        (("--suite", "snr", "--estimators", "sbl_known"), "--estimators: sbl_known needs a suite of a fixed number"),
        (("--suite", "snr", "--estimators", "sbl", "sbl"), "--estimators: expected each once, got sbl sbl"),
    ],
)
def test_options_that_cannot_be_are_refused(arguments, said: str, tmp_path: Path, refused) -> None:
    line = refused("benchmark", "--output-dir", tmp_path / "out", *arguments)
    assert line.startswith(said)
    assert not (tmp_path / "out").exists()
