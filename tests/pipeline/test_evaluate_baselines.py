"""`python -m pipeline.evaluate --baseline`: evaluation of the classical estimators."""

import json
import sys
from pathlib import Path

import pytest

from pipeline.data.building import build_scenes
from pipeline.data.options import DataOptions
from pipeline.evaluate.__main__ import main

NUM_SCENES = 12
CONFIG = f"l64_m64_1_1_{NUM_SCENES}"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    build_scenes(DataOptions(config=CONFIG, data_dir=directory))
    return directory


def evaluated(monkeypatch: pytest.MonkeyPatch, data_dir: Path, output_dir: Path, *arguments: object) -> dict:
    """Runs the stage and returns its metrics.json."""
    options = ["--data-dir", data_dir, "--config", CONFIG, "--scenes", NUM_SCENES, "--output-dir", output_dir]
    monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, [*options, "--no-figures", *arguments])])
    main()
    return json.loads((output_dir / "metrics.json").read_text())


@pytest.mark.extended
def test_maximum_likelihood_beats_back_projection_and_reports_its_covariance(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    simple = evaluated(monkeypatch, data_dir, tmp_path / "simple", "--baseline", "back_projection")
    best = evaluated(
        monkeypatch, data_dir, tmp_path / "best", "--baseline", "sequential_ml", "--compare-with", tmp_path / "simple"
    )
    assert best["minus_compared"]["f1"]["interval"][0] > 0
    assert best["position_covariance"]["hits"] == best["standard"]["true_positives"]
    assert simple["position_covariance"] is None
    assert "scene/s" in capsys.readouterr().err  # the progress bar


@pytest.mark.extended
def test_noise_inflation_costs_weak_sources_of_a_scene_as_told(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--noise-inflation reaches the estimator: with more assumed noise it reports fewer sources."""
    estimates = [
        evaluated(monkeypatch, data_dir, tmp_path / share, "--baseline", "sequential_ml", "--noise-inflation", share)
        for share in ("0", "0.5")
    ]
    assert estimates[0]["estimates"] > estimates[1]["estimates"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--baseline", "back_projection", "--noise-inflation", "0.2"],
        ["--oracle", "--noise-inflation", "0.2"],
        ["--baseline", "sequential_ml", "--chance"],
        ["--baseline", "music"],
        ["--baseline", "sequential_ml", "--noise-inflation", "-0.2"],
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: list[str], data_dir: Path, tmp_path: Path, refused
) -> None:
    assert refused("evaluate", "--data-dir", data_dir, "--output-dir", tmp_path, *arguments)
    assert not (tmp_path / "metrics.json").exists()
