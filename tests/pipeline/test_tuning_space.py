"""No inert knob: every hyper-parameter of the search space, changed alone, changes what a trial comes to."""

import dataclasses
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras_tuner as kt
import pytest
import tensorflow as tf
from keras_tuner.engine.trial import TrialStatus

from models.covariance_estimator.config import ContinuousConfig
from models.reflections.config import CoherenceConfig
from pipeline.common.hyperparameters import option
from pipeline.train import TrainOptions
from pipeline.training.fitting import training_batches
from pipeline.tuning import training
from pipeline.tuning.oracles import RerankOracle, search_oracle
from pipeline.tuning.results import rows
from pipeline.tuning.space import SPACE, Choice, Range, hyperparameters
from pipeline.tuning.surrogate import Surrogate
from pipeline.tuning.training import train_trial
from pipeline.tuning.trial import Trials
from pipeline.tuning.tuner import MVDR_FINAL, SURROGATE, TwoStageTuner
from tests.conftest import SCENE_SETS, TINY

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`")

BASE = dataclasses.replace(
    TINY,
    stages=2,
    continuous=ContinuousConfig(steps=2, additions=1, addition_steps=1, settling_steps=0, tolerance=0.0, spare_atoms=1),
)
"""Stops short of the likelihood's maximum, where most ways to it would look alike."""
OTHER: dict[str, Any] = {
    "learning_rate": 3e-2,
    "losses.stein": 1.0,
    "losses.subspace_alignment": 10.0,
    "shrinkage.base_alpha": 1e-2,
    "backbone.stages": 1,
    "backbone.width": 8,
    "backbone.depth": 3,
    "backbone.exponent": 0.6,
    "backbone.active_atoms": 32,
    "backbone.continuous.steps": 5,
    "backbone.continuous.additions": 2,
    "backbone.continuous.addition_steps": 4,
    "backbone.continuous.prune_gain": 60.0,
    "backbone.continuous.spare_atoms": 3,
}
NEEDS_TRAINING = ("learning_rate", "losses.stein", "losses.subspace_alignment", "backbone.width", "backbone.depth")
"""The others show before the first step already."""


@pytest.fixture(scope="module")
def trials(tiny_scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    """Of two steps each; without graphs, whose tracing would take most of the time."""
    options = TrainOptions(
        *(tmp_path_factory.mktemp("trainings"), tiny_scenes, SCENE_SETS[:1]),
        epochs=1,
        steps_per_epoch=2,
        batch_size=4,
        learning_rate=1e-2,
        backbone=BASE,
        coherence=CoherenceConfig(rounds=0),
    )
    tf.config.run_functions_eagerly(True)
    yield Trials(options, Surrogate(tiny_scenes, SCENE_SETS[0], skip=8, take=4), patience=1)
    tf.config.run_functions_eagerly(False)


def test_a_training_that_diverges_is_a_failed_trial(trials: Trials, tmp_path: Path, caplog, capfd) -> None:
    weights = [1e38, OTHER["losses.stein"]]
    space = hyperparameters({"losses.stein": Choice(tuple(weights))}, trials.base)
    candidates = [{"losses.stein": weight} for weight in weights]
    oracle = RerankOracle(candidates, kt.Objective(MVDR_FINAL, "min"), space, lambda done: False)
    with caplog.at_level(logging.INFO):
        TwoStageTuner(oracle, trials, 4, tmp_path, "diverging", 2, logging.getLogger("test")).search(verbose=0)
    failed, completed = (oracle.trials[name] for name in ("0", "1"))
    assert (failed.status, completed.status) == (TrialStatus.FAILED, TrialStatus.COMPLETED)
    assert completed.score == pytest.approx(trials.run(candidates[1], scenes=4).objective)
    assert re.search(r"diverging trial 1/2  failed: epoch 1: the (loss|surrogate) is no longer finite", caplog.text)
    assert "Traceback" not in capfd.readouterr().err


def test_a_trial_that_hyperband_promotes_goes_on_from_what_it_had(trials: Trials, tmp_path: Path, monkeypatch) -> None:
    """Three trainings of one epoch, then the best of them from its second epoch to its third."""
    begun_at: list[int] = []

    def recorded(options: TrainOptions, skip_batches: int) -> tf.data.Dataset:
        begun_at.append(skip_batches)
        return training_batches(options, skip_batches)

    monkeypatch.setattr(training, "training_batches", recorded)
    longer = Trials(
        dataclasses.replace(trials.base, epochs=3, steps_per_epoch=1, run_dir=tmp_path / "trainings"),
        trials.surrogate,
        patience=3,
    )
    space = hyperparameters({"learning_rate": Range(1e-3, 1e-1, log=True)}, longer.base)
    oracle = search_oracle("hyperband", kt.Objective(SURROGATE, "min"), space, trials=4, epochs=3, seed=1)
    TwoStageTuner(oracle, longer, 4, tmp_path, "promoting", 4, logging.getLogger("test")).search(verbose=0)
    assert begun_at == [0, 0, 0, 1]
    found = rows(oracle, longer, 4)
    assert [row.outcome.epochs for row in found if row.outcome] == [1, 1, 1, 3]
    best = min(found[:3], key=lambda row: row.outcome.surrogate if row.outcome else 0.0)
    assert found[3].values == best.values
    assert len(list((tmp_path / "trainings").iterdir())) == 3


def figures(trials: Trials, values: dict[str, Any], epochs: int) -> tuple[float, float]:
    outcome = trials.run(values, scenes=4, epochs=epochs)
    return outcome.surrogate, outcome.objective


def test_the_same_values_come_to_the_same(trials: Trials) -> None:
    again = dataclasses.replace(trials.base, run_dir=trials.base.run_dir / "again")
    assert figures(Trials(again, trials.surrogate, trials.patience), {}, 1) == pytest.approx(
        figures(trials, {}, 1), rel=1e-5
    )


def test_torn_files_of_a_training_are_made_again(trials: Trials, tmp_path: Path) -> None:
    """The last checkpoint, the outcome and the counts cut in half; the epoch before is whole."""
    torn = Trials(dataclasses.replace(trials.base, run_dir=tmp_path), trials.surrogate, trials.patience)
    expected = figures(torn, {}, 1)
    (folder,) = tmp_path.iterdir()
    files = [*folder.glob("checkpoints/ckpt-1.data*"), *folder.glob("outcome-*"), *folder.glob("tally-*")]
    assert len(files) == 3
    for path in files:
        os.truncate(path, path.stat().st_size // 2)
    assert figures(torn, {}, 1) == pytest.approx(expected, rel=1e-5)
    assert torn.tally({}, 4).true.shape == (4,)


@pytest.mark.parametrize("name", list(SPACE))
def test_each_changes_the_result(trials: Trials, name: str) -> None:
    assert OTHER[name] != option(trials.base, name)
    if name in NEEDS_TRAINING:  # at the last epoch: the best one may be the start, which is the same for all
        changed, unchanged = (trained(trials, values) for values in ({name: OTHER[name]}, {}))
    else:
        changed, unchanged = (figures(trials, values, 0)[1] for values in ({name: OTHER[name]}, {}))
    assert abs(changed - unchanged) > 1e-3


def trained(trials: Trials, values: dict[str, Any]) -> float:
    options = trials.options(values)
    options.run_dir.mkdir(exist_ok=True)
    return train_trial(options, trials.surrogate, options.epochs, trials.patience).surrogates[-1]
