"""The report works offline, shows the values of metrics.json, is written atomically and rejects other folders."""

import html
import json
import logging
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.physics.geometry import RISArray
from pipeline.calibrate.files import StoredCalibration, write_calibration
from pipeline.calibrate.solution import Prior
from pipeline.calibrate.sums import no_scenes
from pipeline.common.records import plain, write_json
from pipeline.metrics.curves import error_distribution, precision_recall
from pipeline.metrics.evaluation import STANDARD_GATE, MetricsConfig, compute_metrics
from pipeline.metrics.predictions import Predictions, evaluate_predictions, save_predictions
from pipeline.metrics.training_curves import read_scalars
from pipeline.report.builder import write_report
from pipeline.report.evaluations import short_names
from pipeline.report.options import ReportOptions
from pipeline.scenes.surfaces import surface_fingerprint
from tests.estimates import evaluated, noisy, perfect, random_scenes, silent
from tests.evaluation_folder import SCENES, leave_evaluation

LOGGER = logging.getLogger("test")
MOST_BYTES = 8_000_000
EVERY_FIGURE = {"error-snr", "f1-snr", "error-cdf", "error-cdf-snr", "recall-range", "error-range", "num-sources"}
OF_SCORES = {"precision-recall", "reliability"}


class Page(HTMLParser):
    """Parsed HTML: attributes, headings, JSON of every plot, and scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[int] = []
        self.drawings: dict[str, dict[str, Any]] = {}
        self.scripts: list[str] = []
        self.text = path.read_text(encoding="utf-8")
        self._figure = self._script = ""
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in found.items()]
        if tag in ("h1", "h2", "h3"):
            self.headings.append(int(tag[1]))
        if tag == "figure":
            self._figure = found["id"]
        self._script = found.get("type", "text/javascript") if tag == "script" else ""

    def handle_data(self, data: str) -> None:
        if self._script == "application/json":
            self.drawings[self._figure] = json.loads(data)
        elif self._script:
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._script = ""

    def names(self, figure: str) -> list[str]:
        return [trace.get("name") for trace in self.drawings[figure]["data"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an evaluation, a training, a calibration and verdicts, and a second evaluation."""
    root = tmp_path_factory.mktemp("runs")
    run = root / "first"
    leave_evaluation(run / "evaluation", noisy(random_scenes(SCENES, 1), 2))
    leave_evaluation(root / "perfect", perfect(random_scenes(SCENES, 1)))
    leave_training(run / "train")
    leave_calibration(run / "calibration.npz")
    record = {"verdict": "BLESSED", "reasons": [], "checks": [{"holds": True, "reason": "f1 <overall>: enough"}]}
    write_json(run / "blessing" / "blessing.json", record)
    return root


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    """The report of the run, compared with the second evaluation."""
    return Page(write_report(ReportOptions(folder / "first", (folder / "perfect",), scenes=2), LOGGER))


def leave_training(folder: Path) -> None:
    """Event files of a training that was killed in its second epoch and resumed."""
    for first in (0, 2):
        with tf.summary.create_file_writer(str(folder / "tensorboard")).as_default():
            for epoch in range(first, first + 3):
                tf.summary.scalar("val_f1", 0.1 * epoch + 0.01 * first, step=epoch)
                tf.summary.scalar("loss", 2.0 / (1 + epoch), step=epoch)
    learned = {name: {"f1": 0.5, "objective": 6.0, "rmse_xyz_m": 1.0} for name in ("trained", "untrained")}
    scores = {"verdict": "PASS", "reason": "a gain", "scores": learned, "validation_scenes": [8, 16]}
    write_json(folder / "learnability.json", scores)


def leave_calibration(path: Path) -> None:
    array = RISArray(num_horizontal=4, num_vertical=3)
    response = np.exp(1j * np.linspace(0.0, 1.0, 12)).astype(np.complex64)
    dead = np.arange(12) == 5
    about = {"surface": plain(array), "surface_fingerprint": surface_fingerprint(array)}
    error = np.full(12, 0.02, np.float32)
    given = StoredCalibration(response * ~dead, error, dead, np.eye(24), no_scenes(12), Prior(), about)
    write_calibration(path, given)


def test_it_needs_no_network(page: Page) -> None:
    loading = [value for _, name, value in page.attributes if name in ("src", "href", "action", "data", "srcset")]
    assert loading and all(value.startswith(("#", "data:")) for value in loading)
    plotly, own = page.scripts
    assert "Plotly.newPlot" in own and len(plotly) > 1_000_000
    assert page.text.count(plotly) == 1
    rest = page.text.replace(plotly, "")
    assert re.findall(r"https?:|//\w+\.\w+|@import|url\(", rest) == []
    (policy,) = [value for tag, _, value in page.attributes if tag == "meta" and "default-src" in value]
    assert "default-src 'none'" in policy and "http" not in policy and "*" not in policy


@pytest.mark.stage("report")
def test_every_figure_is_there_and_has_data(page: Page) -> None:
    scenes = {name for name in page.drawings if name.startswith("scene-")}
    others = {"train-val_f1", "train-losses", "surface-amplitude", "surface-phase", "surface-deviation"}
    assert len(scenes) == 2
    assert set(page.drawings) == EVERY_FIGURE | OF_SCORES | others | scenes
    for name, drawing in page.drawings.items():
        assert drawing["data"], name
        for trace in drawing["data"]:
            key = "z" if trace["type"] == "heatmap" else "y"
            assert np.isfinite(np.array(trace[key], float)).any() or trace["name"] == "assigned to each other", name
        assert "template" not in drawing["layout"] or len(str(drawing["layout"]["template"])) < 500


def test_it_is_small_and_readable(page: Page) -> None:
    assert len(page.text.encode()) < MOST_BYTES
    assert page.text.startswith('<!doctype html>\n<html lang="en">') and "<title>Report of first</title>" in page.text
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    pictures = [value for tag, name, value in page.attributes if tag == "img" and name == "alt"]
    told = [value for tag, name, value in page.attributes if tag == "div" and name == "aria-label"]
    assert len(pictures) == 2 and len(told) >= len(page.drawings) and all(map(len, pictures + told))
    assert all(f'id="{value[1:]}"' in page.text for _, name, value in page.attributes if name == "href")
    for rule in ("@media print", "@media (max-width: 700px)", "width=device-width"):
        assert rule in page.text


def test_what_others_wrote_is_text(page: Page) -> None:
    assert "a middling <one>" not in page.text
    assert html.escape("a middling <one>") in page.text and html.escape("f1 <overall>: enough") in page.text


def row_of(page: Page, title: str) -> list[str]:
    (row,) = re.findall(rf'<tr><th scope="row">{re.escape(title)}</th>(.*?)</tr>', page.text)[:1]
    return re.findall(r"<td>(.*?)</td>", row)


def test_the_headline_says_what_metrics_json_says(page: Page, folder: Path) -> None:
    folders = (folder / "first" / "evaluation", folder / "perfect")
    for column, place in enumerate(folders):
        metrics = json.loads((place / "metrics.json").read_text())
        for key, title in {"f1": "F1", "precision": "precision", "recall": "recall"}.items():
            low, high = metrics["standard"][f"{key}_interval"]
            assert row_of(page, title)[column] == f"{metrics['standard'][key]:.3f} [{low:.3f}, {high:.3f}]"
        median, rmse = metrics["median_position_error_m"], metrics["rmse_xyz_m"]
        assert row_of(page, "position error, median")[column] == f"{median:.3f} m"
        assert row_of(page, "position error, root mean square")[column].startswith(f"{rmse:.3f} m [")
        assert row_of(page, "scenes")[column] == str(SCENES)
    error = json.loads((folders[0] / "metrics.json").read_text())["calibration"]["expected_calibration_error"]
    assert row_of(page, "calibration error of the score") == [f"{error:.3f}", "\N{EN DASH}"]


def test_medians_stand_beside_medians(page: Page, folder: Path) -> None:
    metrics = json.loads((folder / "first" / "evaluation" / "metrics.json").read_text())
    error, bound = page.drawings["error-snr"]["data"][:2]
    assert bound["name"] == "bound, first/evaluation"
    for trace, key in ((error, "median_position_error_m"), (bound, "median_bound_m")):
        np.testing.assert_allclose(trace["y"], [row[key] for row in metrics["by_snr"]], rtol=1e-4)
    np.testing.assert_allclose(error["x"], [-2.5, 2.5, 7.5, 12.5, 17.5])


def test_another_evaluation_is_another_curve(page: Page) -> None:
    both = ["first/evaluation", "perfect"]
    for figure in EVERY_FIGURE - {"num-sources", "error-cdf-snr"}:
        names = page.names(figure)
        assert [name for name in names if name in both] == both, figure
    assert page.names("precision-recall") == ["first/evaluation", "first/evaluation, as reported"]  # perfect: no score
    looks = [trace["line"] for trace in page.drawings["error-cdf"]["data"]]
    assert looks[0]["dash"] != looks[1]["dash"] and looks[0]["color"] != looks[1]["color"]
    assert "minus perfect" in page.text


def test_a_scene_holds_truth_estimates_and_ellipsoids(page: Page) -> None:
    drawing = page.drawings[next(name for name in page.drawings if name.startswith("scene-"))]
    names = [trace["name"] for trace in drawing["data"]]
    assert {"surface", "field of view", "true source", "error ellipsoid"} <= set(names)
    assert any(name.startswith("estimate ") for name in names)
    (true,) = [trace for trace in drawing["data"] if trace["name"] == "true source"]
    assert np.linalg.norm([true[axis] for axis in "xyz"], axis=0).max() <= 10.0
    mesh = next(trace for trace in drawing["data"] if trace["name"] == "error ellipsoid")
    corners = np.array([mesh[corner] for corner in "ijk"])
    assert corners.min() == 0 and corners.max() == len(mesh["x"]) - 1
    assert drawing["layout"]["scene"]["aspectmode"] == "data"


def test_verdicts_lineage_and_commands_are_told(page: Page, folder: Path) -> None:
    assert row_of(page, "blessing")[0] == "BLESSED" and row_of(page, "learnability") == ["PASS", "a gain"]
    assert "evaluate" in page.text and "f" * 12 in page.text
    (listing,) = re.findall(r"<pre.*?>(.*?)</pre>", page.text, re.DOTALL)
    lines = html.unescape(listing).splitlines()
    assert lines[0].startswith("python -m pipeline.data --config l64_m64_1_1_60 --data-dir ")
    assert lines[-1] == f"python -m pipeline.report {folder / 'first'} --compare-with {folder / 'perfect'}"


def test_the_last_value_of_an_epoch_counts(folder: Path) -> None:
    epochs, values = read_scalars(folder / "first" / "train" / "tensorboard")["val_f1"]
    assert epochs == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(values, [0.0, 0.1, 0.22, 0.32, 0.42], rtol=1e-5)


def test_dead_elements_are_crossed_out(page: Page) -> None:
    element, dead = page.drawings["surface-phase"]["data"]
    assert len(element["x"]) == 11 and dead["text"] == ["dead element 5"]
    np.testing.assert_allclose([dead["x"][0], dead["y"][0]], RISArray(4, 3).element_positions_m()[5], atol=1e-6)


def test_without_pairs_scores_bounds_and_scenes_the_rest_is_shown(tmp_path: Path) -> None:
    leave_evaluation(tmp_path, silent(SCENES), bounds=False)
    page = Page(write_report(ReportOptions(tmp_path, scenes=0), LOGGER))
    assert set(page.drawings) == EVERY_FIGURE - {"error-snr", "error-range"}
    assert row_of(page, "position error, median") == ["\N{EN DASH}"]
    assert "Cramér" not in page.text.replace(page.scripts[0], "")


def test_a_training_alone_has_a_page(tmp_path: Path) -> None:
    leave_training(tmp_path)
    assert set(Page(write_report(ReportOptions(tmp_path), LOGGER)).drawings) == {
        f"{tmp_path.name}-val_f1",
        f"{tmp_path.name}-losses",
    }


def test_killed_while_writing_the_old_page_stays(folder: Path, tmp_path: Path, monkeypatch) -> None:
    output = tmp_path / "page.html"
    output.write_text("the old one")

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_report(ReportOptions(folder / "perfect", output=output, scenes=0), LOGGER)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert output.read_text() == "the old one"


def test_scenes_of_others_have_curves_but_no_differences(folder: Path, tmp_path: Path) -> None:
    leave_other_scenes(tmp_path / "others")
    path = tmp_path / "page.html"
    page = Page(write_report(ReportOptions(folder / "perfect", (tmp_path / "others",), path, 0), LOGGER))
    assert "Differences" not in page.text.replace(page.scripts[0], "")
    assert page.names("error-cdf") == ["perfect", "others"]


def leave_other_scenes(folder: Path) -> None:
    """An evaluation of half the scenes."""
    truth = {name: values[: SCENES // 2] for name, values in random_scenes(SCENES, 1).items()}
    predictions = Predictions(truth.pop("snr_db"), truth, perfect(truth))
    save_predictions(folder / "scenes.npz", predictions)
    write_json(folder / "metrics.json", compute_metrics(evaluate_predictions(predictions, MetricsConfig(resamples=50))))


def test_scenes_below_the_bins_have_one(tmp_path: Path) -> None:
    leave_evaluation(tmp_path, perfect(random_scenes(SCENES, 1)), lower_db=4.0)
    page = Page(write_report(ReportOptions(tmp_path, scenes=0), LOGGER))
    assert page.drawings["f1-snr"]["data"][0]["x"] == [-7.5, -2.5, 2.5, 7.5, 12.5, 17.5]
    assert page.names("error-cdf-snr")[0] == "below \N{MINUS SIGN}5 dB"


def test_names_tell_folders_apart() -> None:
    assert short_names([Path("runs/a"), Path("runs/b")]) == ["a", "b"]
    assert short_names([Path("runs/a/x"), Path("runs/b/x")]) == ["a/x", "b/x"]
    assert short_names([Path("runs/demo/evaluation"), Path("ml")]) == ["demo/evaluation", "ml"]


def test_what_is_no_run_is_refused_and_left_alone(tmp_path: Path, refused) -> None:
    nowhere = tmp_path / "nowhere"
    expected = "RUN: expected the folder of an evaluation, a training or a run, got"
    assert refused("report", nowhere) == f"{expected} none at {nowhere}"
    assert refused("report", tmp_path).startswith(f"{expected} {tmp_path}, which has no metrics.json with scenes.npz,")
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_one_line(folder: Path, tmp_path: Path, refused) -> None:
    run = folder / "first"
    assert refused("report", run, "--compare-with", tmp_path) == (
        f"--compare-with: expected an evaluation's folder, with metrics.json and scenes.npz, got {tmp_path} without"
    )
    assert refused("report", run, "--scenes", "9").startswith("--scenes: expected 0 to 8, got 9;")
    assert refused("report", run, "--output", tmp_path).startswith("--output: expected a file to write, got the folder")
    for name in ("metrics.json", "scenes.npz"):
        leave_evaluation(tmp_path / name, silent(SCENES))
        (tmp_path / name / name).write_text("[]")
        assert f"{name}: expected " in refused("report", tmp_path / name)
    for name in ("a", "b"):
        leave_evaluation(tmp_path / "two" / name, silent(SCENES))
    assert refused("report", tmp_path / "two").startswith(f"RUN: expected one evaluation in {tmp_path / 'two'}, got ")


def test_the_curve_over_the_score_ends_at_the_answer_as_it_is() -> None:
    scenes = random_scenes(SCENES, 1)
    evaluation = evaluated(scenes, noisy(scenes, 2))
    curve = precision_recall(evaluation.table, STANDARD_GATE)
    assert curve is not None
    score, precision, recall = curve
    total = evaluation.standard.total()
    assert (precision[-1], recall[-1]) == (pytest.approx(float(total.precision)), pytest.approx(float(total.recall)))
    assert (np.diff(score) < 0).all() and (np.diff(recall) >= 0).all()
    table = evaluation.table
    above = table.is_found & (table.score >= score[10])
    assert precision[10] == pytest.approx(table.hits(STANDARD_GATE)[above].mean())
    assert precision_recall(evaluated(scenes, perfect(scenes)).table, STANDARD_GATE) is None


def test_shares_located_rise_to_the_share_of_pairs() -> None:
    scenes = random_scenes(SCENES, 1)
    table = evaluated(scenes, noisy(scenes, 2)).table
    errors, share = error_distribution(table, np.ones(table.scene.shape, bool), 20.0)
    assert errors[0] == 0.0 and errors[-1] == 20.0 and share[0] == 0.0
    assert share[-1] == pytest.approx(table.is_pair.sum() / table.is_true.sum())
    median_m = np.median(table.position_error_m[table.is_pair])
    assert np.interp(median_m, errors[:-1], share[:-1]) == pytest.approx(share[-1] / 2, abs=0.02)
