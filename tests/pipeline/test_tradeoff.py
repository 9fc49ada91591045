"""Accuracy against run time: every setting is measured, and settings do not change the weights."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from models.artifacts import with_settings
from models.covariance_estimator.backbone import Backbone
from models.localizer_weights import LocalizerWeights
from models.physics.geometry import Scenario
from pipeline.tradeoff import __main__ as tradeoff
from pipeline.tradeoff import time_accuracy
from tests.conftest import SCENE_SETS, TINY


@pytest.mark.stage("tradeoff")
@pytest.mark.promise("effort")
def test_every_kind_and_setting_is_measured(tiny_scenes: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(
        time_accuracy, "SETTINGS", {name: time_accuracy.SETTINGS[name] for name in ("1 round", "default")}
    )
    LocalizerWeights(Backbone(Scenario(), TINY)).save(tmp_path / "backbone.keras")
    options = ["--backbone", str(tmp_path / "backbone.keras"), "--output-dir", str(tmp_path / "out")]
    options += ["--data-dir", str(tiny_scenes), "--config", SCENE_SETS[0], "--scenes", "8", "--batch-size", "4"]
    options += ["--multipath.rounds", "0"]
    monkeypatch.setattr(sys, "argv", ["tradeoff", *options])
    tradeoff.main()
    rows = json.loads((tmp_path / "out" / "tradeoff.json").read_text())
    assert {(row["kind"], row["settings"]) for row in rows} == {
        (kind, settings)
        for kind in ("trained", "untrained", "MVDR on R_pred alone")
        for settings in ("1 round", "default")
    }
    assert all(row["ms_a_scene"] > 0 and 0 <= row["f1"] <= 1 for row in rows)
    f1 = {row["settings"]: row["f1"] for row in rows if row["kind"] == "trained"}
    assert f1["1 round"] > f1["default"]  # the default of this backbone has no rounds
    assert (tmp_path / "out" / "tradeoff.png").stat().st_size > 10_000
    assert capsys.readouterr().out.count("ms per scene") == len(rows)


@pytest.mark.parametrize("name", time_accuracy.SETTINGS)
def test_settings_keep_the_weights(name: str) -> None:
    weights = LocalizerWeights(Backbone(Scenario(), TINY))
    for variable in weights.trainable_variables:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    changed = with_settings(weights, time_accuracy.SETTINGS[name])
    for field, value in time_accuracy.SETTINGS[name].items():
        assert getattr(changed.backbone.config.refinement, field) == value
    for old, new in zip(weights.get_weights(), changed.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
