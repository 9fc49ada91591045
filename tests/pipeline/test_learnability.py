"""The verdict: a clear gain passes, no gain and too few scenes do not."""

import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest

from models.physics.geometry import Scenario
from pipeline import learnability, train
from pipeline.common.main import FAIL
from pipeline.common.records import write_config
from pipeline.evaluation.estimators import chance_estimator, silence_estimator
from pipeline.evaluation.learnability_check import judge
from pipeline.evaluation.metrics import Evaluation
from pipeline.learnability import LearnabilityOptions
from pipeline.training.train_backbone import train as train_backbone
from tests.conftest import SCENE_SETS, TINY
from tests.estimates import evaluated, perfect, random_scenes

SCENES = random_scenes(200, seed=3)
OPTIONS = LearnabilityOptions(Path("unused"), min_training_scenes=1000)


def evaluations(trained: dict[str, np.ndarray], untrained: dict[str, np.ndarray]) -> dict[str, Evaluation]:
    chance, silence = chance_estimator(Scenario())(SCENES), silence_estimator(SCENES)
    answers = {"trained": trained, "untrained": untrained, "chance": chance, "silence": silence}
    return {name: evaluated(SCENES, answer) for name, answer in answers.items()}


def worse() -> dict[str, np.ndarray]:
    """Perfect but for every third scene, which stays unanswered."""
    answer, nothing = perfect(SCENES), silence_estimator(SCENES)
    every_third = np.arange(200) % 3 == 0
    return {
        name: np.where(every_third.reshape(-1, *[1] * (value.ndim - 1)), nothing[name], value)
        for name, value in answer.items()
    }


def test_a_clear_gain_passes() -> None:
    verdict, reason = judge(evaluations(perfect(SCENES), worse()), 1000, OPTIONS)
    assert verdict == "PASS"
    assert all(name in reason for name in ("silence", "chance", "untrained"))


@pytest.mark.parametrize(("trained", "against"), [(worse(), "untrained"), (silence_estimator(SCENES), "silence")])
def test_no_gain_fails(trained: dict[str, np.ndarray], against: str) -> None:
    verdict, reason = judge(evaluations(trained, worse()), 1000, OPTIONS)
    assert verdict == "FAIL"
    assert f"objective against {against}" in reason


def test_scale_is_asked_for() -> None:
    assert judge(evaluations(perfect(SCENES), worse()), 999, OPTIONS) == (
        "FAIL",
        "trained on 999 scenes, 1000 are asked for",
    )


def test_a_small_training_is_judged_on_the_command_line(tmp_path: Path, tiny_scenes: Path, monkeypatch, capsys) -> None:
    options = train.TrainOptions(
        *(tmp_path, tiny_scenes, SCENE_SETS[:1]),
        epochs=1,
        steps_per_epoch=2,
        batch_size=4,
        validation_scenes=4,
        backbone=TINY,
    )
    write_config(tmp_path / "config.json", options)
    train_backbone(options, logging.getLogger("quiet"))
    arguments = ["--run-dir", str(tmp_path), "--data-dir", str(tiny_scenes), "--config", SCENE_SETS[0], "--scenes", "4"]
    monkeypatch.setattr(sys, "argv", ["learnability", *arguments])
    with pytest.raises(SystemExit) as stop:
        learnability.main()
    assert stop.value.code == FAIL
    record = json.loads((tmp_path / learnability.VERDICT_FILE).read_text())
    assert (record["verdict"], record["reason"]) == ("FAIL", "trained on 8 scenes, 100000 are asked for")
    assert record["scores"]["silence"]["f1"] == 0
    assert record["reason"] in capsys.readouterr().out


def test_a_folder_without_a_training_gets_one_line(tmp_path: Path, refused) -> None:
    assert "config.json" in refused("learnability", "--run-dir", tmp_path)
