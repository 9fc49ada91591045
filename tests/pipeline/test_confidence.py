"""The score learns from what the localizer finds: a fit on made-up candidates, and the whole stage on tiny scenes."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from models.artifacts import load_weights
from models.covariance_estimator.backbone import Backbone
from models.decision.scoring import NUM_FEATURES, ScoreCorrection
from models.localizer_weights import LocalizerWeights
from models.physics.geometry import Scenario
from pipeline.confidence import __main__ as confidence
from pipeline.confidence import training as confidence_training
from pipeline.confidence.options import ConfidenceOptions
from pipeline.metrics.matching import Gate
from pipeline.train.options import BEST_MODEL
from tests.conftest import SCENE_SETS, TINY


def made_up(count: int, seed: int, mismatch_matters: bool) -> confidence_training.LabelledPeaks:
    """Scores and covariances that are right where feature 2, the mismatch, is 0; where it is 1, if it matters, half the
    score is right and four times the covariance. Hits are those of true sources, in gates 0.5 to 5 deviations wide,
    that the gate lets through."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, NUM_FEATURES))
    features[:, 2] = rng.integers(2, size=count)
    claimed = rng.uniform(0.05, 0.999, size=count)
    features[:, 0] = 0.3 * np.log(claimed / (1.0 - claimed))
    true = np.where(mismatch_matters & (features[:, 2] == 1), 0.5 * claimed, claimed)
    hit = rng.random(count) < true
    stretch = np.where(mismatch_matters & (features[:, 2] == 1), 4.0, 1.0)
    gate = rng.uniform(0.5, 5.0, size=(count, 3))
    most = norm.cdf(gate / np.sqrt(stretch)[:, None])  # a normal error that is cut off by the gate
    error = np.sqrt(stretch)[:, None] * norm.ppf(rng.uniform(1.0 - most, most))
    squared = np.where(hit, np.sum(error**2, axis=-1), 0.0)
    columns = (features, claimed, hit, squared, gate)
    return confidence_training.LabelledPeaks(*(x.astype(np.float32) for x in columns))


def errors_loss(peaks: confidence_training.LabelledPeaks, stretch: np.ndarray) -> float:
    """Of the hits' errors under covariances stretched so, nats a candidate."""
    inside = 2.0 * norm.cdf(peaks.gate / np.sqrt(stretch)[:, None]) - 1.0
    loss = 1.5 * np.log(stretch) + 0.5 * peaks.squared / stretch + np.log(inside).sum(axis=-1)
    return float(np.mean(peaks.hit * loss))


def cross_entropy(probability: np.ndarray, outcome: np.ndarray) -> float:
    """Of outcomes under probabilities, nats each."""
    return float(-np.mean(np.log(np.where(outcome == 1, probability, 1.0 - probability))))


@pytest.mark.extended
@pytest.mark.parametrize("mismatch_matters", [True, False])
def test_fit_comes_near_the_least_loss(tmp_path: Path, mismatch_matters: bool) -> None:
    training, validation = (made_up(count, count, mismatch_matters) for count in (20_000, 8_000))
    correction = ScoreCorrection()
    correction.build((None, NUM_FEATURES))
    options = ConfidenceOptions(tmp_path, backbone=tmp_path, epochs=30)
    fitted = confidence_training.fit(correction, training, validation, options)
    wrong = mismatch_matters & (validation.features[:, 2] == 1)
    least = cross_entropy(np.where(wrong, 0.5 * validation.score, validation.score), validation.hit)
    least += errors_loss(validation, np.where(wrong, 4.0, 1.0))
    assert fitted < least + 0.01
    if mismatch_matters:
        assert fitted < confidence_training.loss_without(validation) - 0.05
        stretch = np.exp(correction(validation.features)[:, 1])
        assert np.median(stretch[wrong]) == pytest.approx(4.0, rel=0.2)
        assert np.median(stretch[~wrong]) == pytest.approx(1.0, rel=0.1)
    else:
        assert fitted == pytest.approx(confidence_training.loss_without(validation), abs=0.01)


def test_gates_in_deviations_are_those_of_small_errors() -> None:
    """Of drawn errors the gate keeps what normal errors of those deviations would lose."""
    rng = np.random.default_rng(4)
    position_m = np.array([[3.0, 1.0, -0.5], [2.0, -1.5, 0.4]])
    draws = rng.normal(size=(40_000, 3))
    roots = 0.1 * rng.normal(size=(2, 3, 3))
    gate = Gate(azimuth_deg=2.0, elevation_deg=3.0, range_m=0.15)
    found = confidence_training.gate_in_deviations(position_m, roots @ roots.mT, gate)
    for position, root, widths in zip(position_m, roots, found, strict=True):
        x, y, z = (position + draws @ root.T).T
        range_m = np.linalg.norm(position + draws @ root.T, axis=-1)
        errors = [np.arctan2(y, x), np.arcsin(z / range_m), range_m]
        limits = [np.radians(2.0), np.radians(3.0), 0.15]
        deviations = [np.std(error) for error in errors]
        np.testing.assert_allclose(widths, np.divide(limits, deviations), rtol=0.05)


@pytest.mark.stage("confidence")
def test_stage_fits_the_score_and_leaves_the_grid_stages(
    tiny_scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = Backbone(Scenario(), TINY)
    LocalizerWeights(backbone).save(tmp_path / "initial.keras")
    options = ["--backbone", str(tmp_path / "initial.keras"), "--run-dir", str(tmp_path / "run"), "--epochs", "5"]
    options += ["--data-dir", str(tiny_scenes), "--scenes", "16", "--validation-scenes", "16", "--config", *SCENE_SETS]
    options += ["--multipath.rounds", "0"]
    monkeypatch.setattr(sys, "argv", ["score", *options])
    confidence.main()
    fitted = load_weights(tmp_path / "run" / BEST_MODEL)
    for old, new in zip(backbone.grid_variables, fitted.backbone.grid_variables, strict=True):
        np.testing.assert_array_equal(old, new)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(metrics["before"]) == set(metrics["after"]) == set(SCENE_SETS)
    (log,) = (tmp_path / "run" / "logs").iterdir()
    unfitted, entropy = re.search(r"loss on validation: (\S+) before, (\S+) after", log.read_text()).groups()
    gained = "the fit did not lower the loss" not in log.read_text()
    assert gained == bool(np.any(fitted.score_correction.readout.kernel != 0))
    assert (float(entropy) <= float(unfitted)) if gained else (float(entropy) >= float(unfitted))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scenes", "0"], "--scenes: expected 1 or more, got 0"),
        (["--epochs", "0"], "--epochs: expected 1 or more, got 0"),
        (["--data-dir", "nowhere"], "no scenes l64_m64 in nowhere: build them with"),
    ],
)
def test_refusals(tmp_path: Path, refused, options: list[str], message: str) -> None:
    LocalizerWeights(Backbone(Scenario(), TINY)).save(tmp_path / "initial.keras")
    paths = ["--backbone", tmp_path / "initial.keras", "--run-dir", tmp_path / "run"]
    assert message in refused("confidence", *paths, *options)
