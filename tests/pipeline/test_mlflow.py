"""`pipeline.mlflow` writes a run's folder to an MLflow store; the tests read it back with MLflow's own client."""

import dataclasses
import importlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tensorflow as tf

from models.localizer import Localizer
from pipeline.common.artifacts import Input, fingerprint, making, new_record, now, output_digest
from pipeline.common.records import write_json
from pipeline.evaluate.options import EvaluateOptions
from pipeline.export.options import ExportOptions
from pipeline.mlflow.options import MlflowOptions
from pipeline.mlflow.state import is_tracked
from pipeline.mlflow.store import load
from pipeline.release.versions import EXPORT_FILE, Version, model_digest, push, roll_back
from pipeline.scenes.identity import scenes_inputs
from pipeline.train.options import TrainOptions
from tests.conftest import MODEL_NAME, SCENE_SETS

load()  # before MLflow is imported

from mlflow import MlflowClient  # noqa: E402
from mlflow.artifacts import download_artifacts  # noqa: E402
from mlflow.entities import Run  # noqa: E402

LOGGER = logging.getLogger("test")
SCENES = SCENE_SETS[0]
METRICS = {"standard": {"f1": 0.5, "f1_interval": [0.4, 0.6]}, "settings": {"gate_deg": 10.0}, "rmse_xyz_m": None}
CURVE = {0: 0.25, 1: 0.75}
OLDER, NEWER = "1700000000", "1700000001"


def train(folder: Path, localizer: Localizer, data_dir: Path) -> None:
    """Writes the results of `pipeline.train`, including training curves."""
    options = TrainOptions(folder, config=(SCENES,), epochs=1)
    inputs = scenes_inputs(data_dir, options.config)
    with making(folder, fingerprint("train", options, inputs, left_out=("run_dir", "data_dir")), LOGGER) as run:
        run.begin(options)
        localizer.weights.save(folder / "backbone.keras")
        with tf.summary.create_file_writer(str(folder / "tensorboard")).as_default():
            for epoch, f1 in CURVE.items():
                tf.summary.scalar("val_f1", f1, step=epoch)
        run.facts |= {"training_scenes": 32, "started_from": "untrained"}
        run.finish("backbone.keras")


def export(version: Path, model: Path, backbone: Path) -> None:
    """Writes an exported version with its manifest; its number makes it a different model."""
    shutil.copytree(model, version)
    (version / "assets").mkdir(exist_ok=True)
    (version / "assets" / "number").write_text(version.name)
    asked = fingerprint(
        "export", ExportOptions(version.parent, backbone=backbone), left_out=("model_base_path", "log_dir")
    )
    outputs = {"model": {"sha256": model_digest(version)}}
    write_json(version / EXPORT_FILE, new_record(asked) | {"finished": now(), "outputs": outputs})


def evaluate(folder: Path, version: Path, data_dir: Path) -> None:
    """Writes the metrics of an evaluation and one picture."""
    options = EvaluateOptions(folder, version.parent, config=SCENES, scenes=4)
    inputs = {**scenes_inputs(data_dir, [SCENES]), "the model": Input(output_digest(version), version)}
    left_out = ("output_dir", "data_dir", "saved_model")
    with making(folder, fingerprint("evaluate", options, inputs, left_out=left_out), LOGGER) as run:
        run.begin(options)
        write_json(folder / "metrics.json", METRICS)
        (folder / "figures").mkdir()
        tf.io.write_file(str(folder / "figures" / "snr.png"), tf.io.encode_png(tf.zeros([2, 2, 1], tf.uint8)))
        run.facts["metrics"] = {"f1": 0.5}
        run.finish("metrics.json", "figures")


def take(version: Path, base_path: Path) -> Version:
    """Pushes a version, with verdicts on it."""
    verdicts = {"blessing": {"verdict": "BLESSED"}, "infra_validation": {"verdict": "VALID"}}
    record = {"model": model_digest(version), "pushed": now(), "manifests": [], **verdicts}
    return push(version, base_path, record)


@pytest.fixture(scope="module")
def original(tiny_localizer: Localizer, tiny_model: Path, tiny_scenes: Path, tmp_path_factory) -> Path:
    """The folder of a run with two exported models, both pushed in turn. Tests must not write to it."""
    folder = tmp_path_factory.mktemp("original") / "run"
    train(folder / "train", tiny_localizer, tiny_scenes)
    (model,) = (path for path in tiny_model.iterdir() if path.is_dir())
    for number in (OLDER, NEWER):
        version = folder / "export" / MODEL_NAME / number
        export(version, model, folder / "train" / "backbone.keras")
        take(version, folder / "serving" / MODEL_NAME)
    evaluate(folder / "evaluation", folder / "export" / MODEL_NAME / NEWER, tiny_scenes)
    return folder


@dataclasses.dataclass(frozen=True)
class Tracked:
    """A copy of the run and its records in a store, with its own experiment and model name."""

    folder: Path
    options: MlflowOptions
    client: MlflowClient
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def track(self) -> list[str]:
        """Runs the stage; returns its output lines."""
        flags = ["--tracking-uri", self.options.tracking_uri, "--experiment", self.options.experiment]
        flags += ["--registered-model", str(self.options.registered_model)]
        self.monkeypatch.setattr(sys, "argv", ["mlflow", str(self.folder), *flags])
        importlib.import_module("pipeline.mlflow.__main__").main()
        return self.capsys.readouterr().out.splitlines()

    def runs(self) -> dict[str, list[Run]]:
        """MLflow's runs by stage; "" is the parent run."""
        experiment = self.client.get_experiment_by_name(self.options.experiment)
        found: dict[str, list[Run]] = {}
        for run in self.client.search_runs([experiment.experiment_id]):
            found.setdefault(run.data.tags.get("ris.stage", ""), []).append(run)
        return found

    def aliases(self) -> dict[str, str]:
        """The exported version number behind each alias."""
        name = self.options.registered_model
        aliases = self.client.get_registered_model(name).aliases
        return {
            alias: self.client.get_model_version(name, number).tags["ris.exported"] for alias, number in aliases.items()
        }

    def champion(self) -> Path:
        """Downloads the model of the alias `champion` from the store."""
        self.monkeypatch.setenv("MLFLOW_TRACKING_URI", self.options.tracking_uri)
        return Path(download_artifacts(f"models:/{self.options.registered_model}@champion"))

    def everything(self) -> object:
        """Everything that a second call could change."""
        name = self.options.registered_model
        runs = [run.to_dictionary() for some in self.runs().values() for run in some]
        versions = [dict(version) for version in self.client.search_model_versions(f"name = '{name}'")]
        return runs, versions, self.client.get_registered_model(name).aliases


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'there' / 'mlflow.db'}"


@pytest.fixture
def make_tracked(original: Path, tmp_path: Path, monkeypatch, capsys) -> Callable[[str], Tracked]:
    """Creates copies of the run for a store."""

    def made(uri: str) -> Tracked:
        folder, name = tmp_path / "run", tmp_path.name
        shutil.copytree(original, folder)
        return Tracked(
            folder, MlflowOptions(folder, uri, name, registered_model=name), MlflowClient(uri), monkeypatch, capsys
        )

    return made


@pytest.fixture
def run(make_tracked, store: str) -> Tracked:
    """A tracked copy in the SQLite file."""
    return make_tracked(store)


def test_stages_are_nested_in_their_run(run: Tracked) -> None:
    run.track()
    found = run.runs()
    assert {stage: len(runs) for stage, runs in found.items()} == {
        "": 1, "data": 1, "train": 1, "export": 2, "evaluate": 1, "push": 2,
    }  # fmt: skip
    (parent,) = found.pop("")
    for stage in (stage for stages in found.values() for stage in stages):
        assert stage.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert stage.info.status == "FINISHED"
    assert parent.info.run_name == "run"
    assert parent.data.metrics == {"f1": 0.5}


def test_a_stage_has_its_options_digests_scenes_and_curves(run: Tracked) -> None:
    run.track()
    manifest = json.loads((run.folder / "train" / "manifest.json").read_text())
    asked = manifest["fingerprint"]
    (trained,) = run.runs()["train"]
    assert trained.data.params["epochs"] == "1"
    assert trained.data.params["config"] == json.dumps([SCENES])
    assert trained.data.params.keys() == asked["options"].keys()
    tags = trained.data.tags
    assert tags["ris.fingerprint"] == manifest["digest"]
    assert tags["ris.code.code"] == asked["code"]["code"]
    assert tags["ris.output.backbone.keras"] == manifest["outputs"]["backbone.keras"]["sha256"]
    assert tags["ris.command"] == tags["mlflow.source.name"] == " ".join(manifest["command"])
    assert tags.get("mlflow.source.git.commit") == manifest["git_commit"]
    digest = asked["inputs"][f"the scenes {SCENES}"]
    assert tags[f"ris.input.the scenes {SCENES}"] == digest
    for stage in ("train", "evaluate", "data"):
        (scenes,) = run.runs()[stage][0].inputs.dataset_inputs
        assert (scenes.dataset.name, scenes.dataset.digest) == (SCENES, digest[:36])
        assert {tag.key: tag.value for tag in scenes.tags} == {"mlflow.data.context": stage, "sha256": digest}
    history = run.client.get_metric_history(trained.info.run_id, "val_f1")
    assert {point.step: point.value for point in history} == CURVE


def test_figures_and_records_are_artifacts(run: Tracked) -> None:
    run.track()
    (evaluated,) = run.runs()["evaluate"]
    assert evaluated.data.metrics == {"f1": 0.5, "standard.f1": 0.5}  # neither settings nor missing values
    number = evaluated.info.run_id
    assert {file.path for file in run.client.list_artifacts(number)} >= {"manifest.json", "metrics.json", "figures"}
    picture = Path(run.client.download_artifacts(number, "figures/snr.png"))
    assert picture.read_bytes() == (run.folder / "evaluation" / "figures" / "snr.png").read_bytes()
    (pushed, _) = run.runs()["push"]
    assert [file.path for file in run.client.list_artifacts(pushed.info.run_id)] == ["release.json"]


@pytest.mark.extended
def test_a_second_call_adds_nothing(run: Tracked) -> None:
    """Neither does a call after the folder has moved."""
    run.track()
    before = run.everything()
    assert not [line for line in run.track() if line.startswith(("tracked", "registered"))]
    assert run.everything() == before
    moved = run.folder.rename(run.folder.with_name("moved"))
    dataclasses.replace(run, folder=moved).track()
    assert run.everything() == before


@pytest.mark.extended
def test_what_a_kill_interrupted_is_completed(run: Tracked) -> None:
    """Interrupted before the run of the first stage, of another stage, and of the parent was closed."""
    with pytest.MonkeyPatch.context() as patch:
        close, closed = MlflowClient.set_terminated, []

        def killed(client: MlflowClient, number: str, *given: object) -> None:
            closed.append(number)
            if len(closed) in (1, 4, 10):
                raise KeyboardInterrupt
            close(client, number, *given)

        patch.setattr(MlflowClient, "set_terminated", killed)
        for _ in range(3):
            with pytest.raises(SystemExit):
                run.track()
    run.track()
    found = run.runs()
    assert sum(map(len, found.values())) == 8
    assert {stage.info.status for stages in found.values() for stage in stages} == {"FINISHED"}
    history = run.client.get_metric_history(found["train"][0].info.run_id, "val_f1")
    assert [point.value for point in history] == list(CURVE.values())


def test_aliases_follow_what_is_exported_and_served(run: Tracked, tiny_model: Path) -> None:
    run.track()
    assert run.aliases() == {"candidate": NEWER, "champion": NEWER}
    assert is_tracked(run.options)
    base_path = run.folder / "serving" / MODEL_NAME
    back = roll_back(base_path, "previous")
    assert not is_tracked(run.options)
    assert any(re.search(r"@champion: version 1$", line) for line in run.track())
    assert run.aliases() == {"candidate": NEWER, "champion": OLDER}
    name = run.options.registered_model
    champion = run.client.get_model_version_by_alias(name, "champion")
    assert champion.tags["ris.version"] == str(back.number)
    assert champion.tags["ris.model"] == model_digest(back.path)
    assert (champion.tags["ris.blessing"], champion.tags["ris.infra_validation"]) == ("BLESSED", "VALID")
    assert model_digest(run.champion()) == model_digest(back.path)

    (stranger,) = (path for path in tiny_model.iterdir() if path.is_dir())
    take(stranger, base_path)
    assert any("is served but not registered" in line for line in run.track())
    assert run.aliases() == {"candidate": NEWER}


@pytest.mark.extended
def test_a_harmed_stage_is_left_out(run: Tracked) -> None:
    (run.folder / "evaluation" / "metrics.json").write_text("{}")
    assert any(line.endswith("metrics.json does not match its manifest") for line in run.track())
    assert "evaluate" not in run.runs()


@pytest.mark.extended
def test_a_missing_store_is_not_tracked(run: Tracked, tmp_path: Path) -> None:
    """The plan of a run finds that out without MLflow."""
    run.track()
    assert is_tracked(run.options)
    assert not is_tracked(dataclasses.replace(run.options, tracking_uri=f"sqlite:///{tmp_path / 'none.db'}"))
    assert not is_tracked(dataclasses.replace(run.options, experiment="another"))


@pytest.fixture
def server(store: str, tmp_path: Path) -> Iterator[str]:
    """MLflow's own server, on the same SQLite file; yields its address."""
    command = [
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        store,
        "--artifacts-destination",
        str(tmp_path / "kept"),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with subprocess.Popen(
        [sys.executable, *command, "--host", "127.0.0.1", "--port", "0", "--workers", "1"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stderr is not None
        said = (re.search(r"running on (http://\S+)", line) for line in process.stderr)
        uri = next(match[1] for match in said if match is not None)
        rest = threading.Thread(target=process.stderr.read)  # otherwise its pipe fills up
        rest.start()
        yield uri
        process.terminate()
        rest.join()


@pytest.mark.extended
def test_a_server_by_its_uri(make_tracked, server: str) -> None:
    run = make_tracked(server)
    run.track()
    assert run.aliases() == {"candidate": NEWER, "champion": NEWER}
    before = run.everything()
    run.track()
    assert run.everything() == before
    assert len(run.runs()["export"]) == 2
    assert model_digest(run.champion()) == model_digest(run.folder / "export" / MODEL_NAME / NEWER)


def test_what_is_refused_is_one_line(refused, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused("mlflow", tmp_path / "none").startswith("RUN: expected the folder of an evaluation")
    folder = shutil.copytree(original, tmp_path / "run")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said = refused("mlflow", folder, "--tracking-uri", "http://127.0.0.1:9")
    assert said.startswith("--tracking-uri: expected a store that accepts the run, got http://127.0.0.1:9: API")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert (
        refused("mlflow", folder) == "mlflow: expected the package mlflow, found none; pip install 'ris-mvdr[mlflow]'"
    )
