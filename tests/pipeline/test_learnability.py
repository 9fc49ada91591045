"""The verdict: a clear gain passes, no gain and too few scenes do not."""

import json
import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from models.covariance_estimator.backbone import Backbone
from models.localizer_weights import LocalizerWeights
from models.multipath.config import MultipathConfig
from models.physics.geometry import Scenario
from pipeline.common.digests import content_digest
from pipeline.common.main import FAIL
from pipeline.confidence import __main__ as confidence
from pipeline.learnability import __main__ as learnability
from pipeline.learnability import check as learnability_check
from pipeline.learnability.check import judge, training_scenes
from pipeline.learnability.options import VERDICT_FILE, LearnabilityOptions
from pipeline.metrics.estimators import chance_estimator, silence_estimator
from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.predictions import run_estimator
from pipeline.train.options import BEST_MODEL, TrainOptions
from pipeline.train.training import train as train_backbone
from tests.conftest import SCENE_SETS, TINY
from tests.estimates import evaluated, perfect, random_scenes

SCENES = random_scenes(200, seed=3)
BLIND = ("--multipath.rounds", 0)  # for reflections
OPTIONS = LearnabilityOptions(Path("unused"), min_training_scenes=1000)


def evaluations(
    trained: dict[str, np.ndarray], untrained: dict[str, np.ndarray], start: dict[str, np.ndarray] | None = None
) -> dict[str, Evaluation]:
    """Of answers; a training starts from the untrained backbone if no start is given."""
    chance, silence = chance_estimator(Scenario())(SCENES), silence_estimator(SCENES)
    answers = {"trained": trained, "untrained": untrained, "chance": chance, "silence": silence}
    answers["start"] = untrained if start is None else start
    return {name: evaluated(SCENES, answer) for name, answer in answers.items()}


def worse() -> dict[str, np.ndarray]:
    """Perfect but for every third scene, which stays unanswered."""
    answer, nothing = perfect(SCENES), silence_estimator(SCENES)
    every_third = np.arange(200) % 3 == 0
    return {
        name: np.where(every_third.reshape(-1, *[1] * (value.ndim - 1)), nothing[name], value)
        for name, value in answer.items()
    }


@pytest.mark.stage("learnability")
def test_a_clear_gain_passes() -> None:
    verdict, reason = judge(evaluations(perfect(SCENES), worse()), 1000, OPTIONS)
    assert verdict == "PASS"
    assert all(name in reason for name in ("silence", "chance", "untrained"))


@pytest.mark.extended
@pytest.mark.parametrize(("trained", "against"), [(worse(), "untrained"), (silence_estimator(SCENES), "silence")])
def test_no_gain_fails(trained: dict[str, np.ndarray], against: str) -> None:
    verdict, reason = judge(evaluations(trained, worse()), 1000, OPTIONS)
    assert verdict == "FAIL"
    assert f"objective against {against}" in reason


def test_a_training_that_adds_nothing_to_given_weights_fails() -> None:
    """However much better than the untrained backbone those were."""
    verdict, reason = judge(evaluations(perfect(SCENES), worse(), start=perfect(SCENES)), 1000, OPTIONS)
    assert (verdict, reason) == ("FAIL", "objective against start: +0.000 [+0.000, +0.000], not a significant gain")


def test_the_default_training_is_as_long_as_the_default_gate_asks() -> None:
    """It was 80,000 scenes against 100,000 once."""
    training = TrainOptions(Path("unused"))
    seen = training.epochs * training.steps_per_epoch * training.batch_size
    assert seen >= LearnabilityOptions(Path("unused")).min_training_scenes


def test_scale_is_asked_for() -> None:
    assert judge(evaluations(perfect(SCENES), worse()), 999, OPTIONS) == (
        "FAIL",
        "trained on 999 scenes, expected at least 1000",
    )


def command_line(module: object, monkeypatch: pytest.MonkeyPatch, *options: object) -> str | int | None:
    """What a stage's main() exits with."""
    monkeypatch.setattr(sys, "argv", ["stage", *map(str, options)])
    try:
        module.main()  # type: ignore[attr-defined]
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_scenes: Path) -> Path:
    """A training on 8 scenes, 4 validation scenes chose the epoch."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    options = TrainOptions(
        run_dir=run_dir,
        data_dir=tiny_scenes,
        config=SCENE_SETS[:1],
        epochs=1,
        steps_per_epoch=2,
        batch_size=4,
        validation_scenes=4,
        backbone=TINY,
        multipath=MultipathConfig(rounds=0),
    )
    train_backbone(options, logging.getLogger("quiet"))
    return run_dir


@pytest.mark.extended
def test_a_small_training_is_judged_on_scenes_that_chose_nothing(
    trained: Path, tiny_scenes: Path, monkeypatch, capsys, refused
) -> None:
    judged: list[int] = []

    def recorded(estimator, batches, scenes: int):
        judged.extend(int(index) for batch in batches for index in batch["index"])
        return run_estimator(estimator, batches, scenes)

    monkeypatch.setattr(learnability_check, "run_estimator", recorded)
    options = ["--run-dir", trained, "--data-dir", tiny_scenes, "--config", SCENE_SETS[0], *BLIND, "--scenes"]
    assert command_line(learnability, monkeypatch, *options, 4) == FAIL
    record = json.loads((trained / VERDICT_FILE).read_text())
    assert (record["verdict"], record["reason"]) == ("FAIL", "trained on 8 scenes, expected at least 100000")
    assert record["scores"]["silence"]["f1"] == 0
    assert record["validation_scenes"] == [4, 8]
    assert judged == [4, 5, 6, 7] * (len(record["scores"]) - 1)  # the start is the untrained backbone, and runs once
    assert record["scores"]["start"] == record["scores"]["untrained"]
    assert record["model"] == content_digest(trained / BEST_MODEL)
    assert record["started_from"] == "untrained"
    assert record["reason"] in capsys.readouterr().out
    expected = "--scenes: expected at most 12, as 4 of the 16 validation scenes chose this model, got 13"
    assert refused("learnability", *options, 13) == expected


@pytest.mark.extended
def test_scenes_are_counted_and_not_computed_from_options(
    trained: Path, tiny_scenes: Path, tmp_path: Path, refused
) -> None:
    """A finished run that was run again with other options changed its config, and so its verdict, once."""
    before = {path: path.read_bytes() for path in trained.glob("*.json")}
    small = [*("--backbone.stages", 1, "--backbone.width", 4, "--backbone.depth", 2, "--backbone.active-atoms", 16)]
    said = refused(
        "train", "--run-dir", trained, "--data-dir", tiny_scenes, "--config", SCENE_SETS[0], "--epochs", 1,
        "--steps-per-epoch", 200_000, "--batch-size", 4, "--validation-scenes", 4, *small,
    )  # fmt: skip
    assert "holds another run: --" in said
    assert {path: path.read_bytes() for path in trained.glob("*.json")} == before
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    config = json.loads((copy / "config.json").read_text())
    config["options"]["steps_per_epoch"] = 200_000
    (copy / "config.json").write_text(json.dumps(config))
    assert training_scenes(trained) == training_scenes(copy) == 8


@pytest.mark.extended
def test_a_model_of_another_training_is_not_judged(trained: Path, tiny_scenes: Path, tmp_path: Path, refused) -> None:
    other = tmp_path / "backbone.keras"
    LocalizerWeights(Backbone(Scenario(), TINY)).save(other)
    options = ["--run-dir", trained, "--data-dir", tiny_scenes, "--config", SCENE_SETS[0], "--scenes", 4]
    said = refused("learnability", *options, "--backbone", other)
    assert said.startswith("--backbone: expected ")
    assert "or the output of ris-mvdr confidence for it" in said


@pytest.mark.extended
def test_a_fitted_score_counts_its_validation_scenes(
    trained: Path, tiny_scenes: Path, tmp_path: Path, monkeypatch
) -> None:
    """They stopped its fit."""
    scenes = ["--data-dir", tiny_scenes, "--config", SCENE_SETS[0], "--scenes"]
    fitted = ["--backbone", trained / BEST_MODEL, "--run-dir", tmp_path, "--validation-scenes", 8, "--epochs", 2]
    assert command_line(confidence, monkeypatch, *fitted, *scenes, 16, *BLIND) == 0
    judged = ["--run-dir", trained, "--backbone", tmp_path / BEST_MODEL]
    assert command_line(learnability, monkeypatch, *judged, *scenes, 8, *BLIND) == FAIL
    record = json.loads((trained / VERDICT_FILE).read_text())
    assert record["validation_scenes"] == [8, 16]
    assert record["model"] == content_digest(tmp_path / BEST_MODEL)


def test_a_folder_without_a_training_gets_one_line(tmp_path: Path, refused) -> None:
    assert "--run-dir: expected a training, got no checkpoint in " in refused("learnability", "--run-dir", tmp_path)
