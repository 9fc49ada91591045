"""Evaluation from stored scenes through a real SavedModel to the output files, and its error messages."""

import csv
import json
import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.dictionary import PolarDictionary
from models.physics.geometry import Scenario
from models.physics.steering import source_positions_m
from pipeline.data.building import build_scenes
from pipeline.data.options import DataOptions
from pipeline.evaluate.__main__ import main
from pipeline.evaluate.options import EvaluateOptions
from pipeline.evaluate.runner import draw_figures, evaluate
from pipeline.metrics.comparison import compare
from pipeline.metrics.estimators import latest_version, saved_model_estimator
from pipeline.metrics.evaluation import MetricsConfig, compute_metrics
from pipeline.metrics.predictions import evaluate_predictions, load_predictions, run_estimator
from pipeline.scenes.reading import load_scenes
from serving.server.calls import CallGate, EventLoopThread
from serving.server.config import single_model
from serving.server.core import ServerCore
from serving.server.grpc_server import GrpcConfig, GrpcServer
from serving.server.manager import ModelManager
from serving.server.metrics import Metrics
from serving.server.servable import load_servable
from serving.server.versions import ManagerConfig
from tests.estimates import evaluated, random_scenes, silent

NUM_SCENES = 30
CONFIG = f"l64_m64_1_1_{NUM_SCENES}"
SCENARIO = Scenario()
FIGURES = {"scenes", "snr", "position_error", "num_sources", "range", "bound", "reliability"}


class BackProjection(tf.Module):
    """A small localizer: its only source is the grid point with the largest back-projected power."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = PolarDictionary(SCENARIO.array, SCENARIO.field_of_view)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, 16], tf.complex64, "snapshots"),
            tf.TensorSpec([None, None, 144], tf.complex64, "ris_codes"),
            tf.TensorSpec([None, 16, 144], tf.complex64, "channel"),
            tf.TensorSpec([None], tf.float32, "snr_db"),
        ]
    )
    def localize(self, snapshots, ris_codes, channel, snr_db):
        projected = tf.matmul(snapshots, tf.math.conj(channel)) * tf.math.conj(ris_codes)
        power = self.grid.beam_power(projected)
        best = tf.argmax(power, axis=-1)
        azimuth, elevation, inverse_range = (
            tf.gather(axis, best) for axis in (self.grid.azimuth, self.grid.elevation, self.grid.inverse_range)
        )

        def slots(value: tf.Tensor) -> tf.Tensor:
            rest = tf.fill([tf.shape(value)[0], SCENARIO.max_sources - 1, *value.shape[1:]], np.nan)
            return tf.concat([value[:, None], rest], axis=1)

        return {
            "num_sources": tf.ones_like(snr_db, tf.int32),
            "azimuth_deg": slots(azimuth * (180.0 / np.pi)),
            "elevation_deg": slots(elevation * (180.0 / np.pi)),
            "range_m": slots(1.0 / inverse_range),
            "score": slots(tf.reduce_max(power, -1) / tf.reduce_sum(power, -1)),
            "position_m": slots(source_positions_m(azimuth, elevation, 1.0 / inverse_range)),
        }


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    build_scenes(DataOptions(config=CONFIG, data_dir=directory))
    return directory


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of the model, and a later incomplete one."""
    directory = tmp_path_factory.mktemp("model")
    module = BackProjection()
    for version in ("9", "10"):
        tf.saved_model.save(module, str(directory / version), signatures={"serving_default": module.localize})
    (directory / "11").mkdir()
    return directory


@pytest.fixture(scope="module")
def output_dir(tmp_path_factory: pytest.TempPathFactory, data_dir: Path, model_dir: Path) -> Path:
    """Output folder of an evaluation of the SavedModel."""
    directory = tmp_path_factory.mktemp("output")
    options = EvaluateOptions(
        output_dir=directory,
        saved_model=model_dir,
        data_dir=data_dir,
        config=CONFIG,
        scenes=NUM_SCENES,
        batch_size=8,
    )
    evaluate(options, logging.getLogger("test"))
    return directory


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, arguments)])
    main()


def metrics_in(directory: Path) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in metrics.json")

    return json.loads((directory / "metrics.json").read_text(), parse_constant=refuse)


def test_the_latest_finished_version_is_evaluated(model_dir: Path) -> None:
    assert latest_version(model_dir) == model_dir / "10"
    assert latest_version(model_dir / "9") == model_dir / "9"


def test_a_saved_model_leaves_metrics_scenes_and_figures(output_dir: Path) -> None:
    metrics = metrics_in(output_dir)
    assert metrics["scenes"] == metrics["estimates"] == NUM_SCENES
    assert sum(row["scenes"] for row in metrics["by_snr"]) == NUM_SCENES
    assert metrics["scenes_per_second"] > 0
    assert metrics["position_covariance"] is None  # the model has no covariances
    assert {path.stem for path in (output_dir / "figures").iterdir()} == FIGURES
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (output_dir / "figures").iterdir())


def test_another_evaluation_does_not_go_into_its_folder(
    output_dir: Path, model_dir: Path, data_dir: Path, tmp_path: Path, refused
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(output_dir, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.parent.name != "logs"}
    said = refused(
        "evaluate", "--saved-model", model_dir, "--data-dir", data_dir, "--config", CONFIG, "--scenes", NUM_SCENES - 1,
        "--batch-size", 8, "--output-dir", folder,
    )  # fmt: skip
    assert f"--scenes was {NUM_SCENES}, now {NUM_SCENES - 1}" in said
    assert {path: path.read_bytes() for path in before} == before


def test_the_saved_model_and_the_module_it_was_made_of_agree(output_dir: Path, data_dir: Path) -> None:
    stored = load_predictions(output_dir / "scenes.npz")
    module = BackProjection()
    batches = load_scenes(data_dir, CONFIG, "test", batch_size=NUM_SCENES)
    direct = run_estimator(
        lambda scenes: module.localize(*(scenes[key] for key in ("snapshots", "ris_codes", "channel", "snr_db"))),
        batches,
        NUM_SCENES,
        show_progress=False,
    )
    np.testing.assert_array_equal(stored.truth["range_m"], direct.truth["range_m"])
    np.testing.assert_allclose(stored.outputs["position_m"], direct.outputs["position_m"], rtol=1e-5)


@pytest.mark.promise("paired intervals")
def test_back_projection_beats_chance(
    output_dir: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Signals reach the estimator: its estimate is nearer to a source than a guess. Also tests the comparison."""
    run_main(
        monkeypatch, "--chance", "--data-dir", data_dir, "--config", CONFIG, "--scenes", NUM_SCENES,
        "--output-dir", tmp_path, "--compare-with", output_dir, "--no-figures",
    )  # fmt: skip
    chance, model = metrics_in(tmp_path), metrics_in(output_dir)
    assert model["standard"]["precision"] > 10 * chance["standard"]["precision"]
    difference = chance["minus_compared"]["f1"]
    assert difference["difference"] == pytest.approx(chance["standard"]["f1"] - model["standard"]["f1"])
    assert difference["interval"][1] < 0
    assert not (tmp_path / "figures").exists()
    (log,) = (tmp_path / "logs").glob("evaluate-*.log")
    console = capsys.readouterr().out
    assert str(log) in console
    for line in console.splitlines():
        assert line in log.read_text()
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["options"]["config"] == CONFIG
    assert config["versions"]["tensorflow"] == tf.__version__


def test_a_served_model_answers_as_the_saved_one_does(
    model_dir: Path, data_dir: Path, output_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = ModelManager(ManagerConfig(), load_servable, lambda: None)
    config = single_model("back_projection", model_dir)
    config.model_config_list.config[0].model_version_policy.specific.versions.append(10)  # 11 is incomplete
    manager.reload(config)
    loop = EventLoopThread()
    server = GrpcServer(ServerCore(manager, Metrics()), GrpcConfig(port=0), loop, CallGate())
    try:
        run_main(
            monkeypatch, "--target", f"localhost:{server.port}", "--model-name", "back_projection", "--data-dir",
            data_dir, "--config", CONFIG, "--scenes", NUM_SCENES, "--output-dir", tmp_path, "--no-figures",
        )  # fmt: skip
    finally:
        server.stop(0.0)
        loop.stop()
        manager.stop()
    served, local = (load_predictions(path / "scenes.npz").outputs for path in (tmp_path, output_dir))
    assert served.keys() == local.keys()
    for name, value in served.items():
        np.testing.assert_allclose(value, local[name], rtol=1e-5)


@pytest.mark.promise("MVDR")
def test_the_oracle_is_the_ceiling(
    output_dir: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_main(
        monkeypatch, "--oracle", "--data-dir", data_dir, "--config", CONFIG, "--scenes", NUM_SCENES,
        "--output-dir", tmp_path, "--compare-with", output_dir,
    )  # fmt: skip
    metrics = metrics_in(tmp_path)
    assert metrics["standard"]["f1"] > 0.9
    assert metrics["minus_compared"]["objective"]["interval"][1] < 0


def test_matches_csv_has_a_row_for_every_source(output_dir: Path) -> None:
    with (output_dir / "matches.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    metrics = metrics_in(output_dir)
    assert sum(row["true_slot"] != "-1" for row in rows) == metrics["sources"]
    assert sum(row["found_slot"] != "-1" for row in rows) == metrics["estimates"]
    assert sum(int(row["hit_standard"]) for row in rows) == metrics["standard"]["true_positives"]
    assert sum(row["position_error_m"] != "" for row in rows) == metrics["pairs"]


def test_an_evaluation_can_be_repeated_from_its_scenes(output_dir: Path) -> None:
    evaluation = evaluate_predictions(load_predictions(output_dir / "scenes.npz"), MetricsConfig())
    metrics = metrics_in(output_dir)
    assert float(evaluation.standard.total().f1) == metrics["standard"]["f1"]
    assert float(evaluation.standard.total().objective) == metrics["objective"]
    assert all(item.difference == 0.0 for item in compare(evaluation, evaluation).values())


def test_the_same_batches_give_the_same_answers_in_any_size(model_dir: Path, data_dir: Path, output_dir: Path) -> None:
    batches = load_scenes(data_dir, CONFIG, "test", batch_size=13)
    again = run_estimator(saved_model_estimator(model_dir), batches, NUM_SCENES, show_progress=False)
    stored = load_predictions(output_dir / "scenes.npz")
    np.testing.assert_allclose(again.outputs["position_m"], stored.outputs["position_m"], rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--saved-model", "nowhere"], "saved-model: expected a SavedModel or numbered versions of one in nowhere"),
        (["--chance", "--config", "l64_m65"], "config: expected one of l64_m64"),
        (["--chance", "--config", "l64_m64"], "no scenes l64_m64"),
        (["--chance", "--scenes", "31"], "take: expected 1 to 30"),
        (["--chance", "--split", "tset"], "split: expected one of train, validation, test, got 'tset'"),
        (["--chance", "--compare-with", "nowhere"], "scenes.npz: expected an evaluation's file at nowhere"),
    ],
)
def test_what_cannot_be_had_gets_one_line(
    arguments: list[str], message: str, data_dir: Path, tmp_path: Path, refused
) -> None:
    defaults = ["--data-dir", data_dir, "--config", CONFIG, "--scenes", NUM_SCENES, "--output-dir", tmp_path]
    assert message in refused("evaluate", *defaults, *arguments)
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(
    "arguments", [["--untrained", "--chance"], ["--chance", "--oracle"], ["--chance", "--scenes", "0"]]
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str], tmp_path: Path, refused) -> None:
    assert "expected" in refused("evaluate", "--output-dir", tmp_path, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_model_with_other_inputs_is_refused(tmp_path: Path) -> None:
    module = tf.Module()
    module.call = tf.function(lambda x: {"y": x}, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.call})
    with pytest.raises(ValueError, match=r"saved-model: expected the inputs .* got \['x'\]"):
        saved_model_estimator(tmp_path)


def test_a_comparison_needs_the_same_scenes(output_dir: Path) -> None:
    stored = load_predictions(output_dir / "scenes.npz")
    first = evaluate_predictions(stored, MetricsConfig())
    stored.truth["range_m"][0, 0] += 0.1
    with pytest.raises(ValueError, match="expected an evaluation of the same scenes"):
        compare(first, evaluate_predictions(stored, MetricsConfig()))


@pytest.mark.extended
@pytest.mark.filterwarnings("error")
def test_figures_of_an_answer_without_any_pair_are_drawn(tmp_path: Path) -> None:
    evaluation = evaluated(random_scenes(12, seed=1), silent(12))
    paths = draw_figures(tmp_path, evaluation, compute_metrics(evaluation), SCENARIO)
    assert {path.stem for path in paths} == FIGURES - {"bound", "reliability"}
    assert all(path.stat().st_size > 10_000 for path in paths)


def test_no_file_is_left_half_written(output_dir: Path) -> None:
    leftovers = {path.name for path in output_dir.rglob(".*") if path.is_file()}
    assert leftovers <= {".lock"}  # the lock is released; the file stays
