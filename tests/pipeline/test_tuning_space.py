"""No inert knob: every hyper-parameter of the search space, changed alone, changes what a trial comes to."""

import dataclasses
import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf
from keras_tuner.engine.trial import TrialStatus

from models.artifacts import load_weights
from models.config import LocalizerConfig
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import RefinementConfig
from models.covariance_estimator.off_grid_refinement import Refinement
from models.localizer import Localizer
from models.multipath.config import MultipathConfig
from pipeline.common.hyperparameters import option
from pipeline.export import __main__ as export
from pipeline.fitting import loop
from pipeline.train.options import TrainOptions
from pipeline.train.training import prepare
from pipeline.tune.options import InferenceOptions, TuneOptions
from pipeline.tune.oracles import RerankOracle, search_oracle
from pipeline.tune.results import rows
from pipeline.tune.space import INFERENCE_SPACE, TRAINING_SPACE, Choice, Range, hyperparameters
from pipeline.tune.study import Study
from pipeline.tune.surrogate import Surrogate, stage_1_scenes
from pipeline.tune.training import train_trial
from pipeline.tune.trial import Trials
from pipeline.tune.tuner import MVDR_FINAL, SURROGATE, TwoStageTuner
from tests.conftest import SCENE_SETS, TINY

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`")

BASE = dataclasses.replace(
    TINY,
    stages=2,
    refinement=RefinementConfig(steps=2, additions=1, addition_steps=1, settling_steps=0, tolerance=0.0, spare_atoms=1),
)
"""Stops short of the likelihood's maximum, where most ways to it would look alike."""
OTHER: dict[str, Any] = {
    "learning_rate": 3e-2,
    "losses.stein": 1.0,
    "losses.subspace_alignment": 10.0,
    "backbone.width": 8,
    "backbone.depth": 3,
    "backbone.exponent": 0.6,
    "backbone.active_atoms": 32,
    "backbone.refinement.steps": 5,
    "backbone.refinement.additions": 2,
    "backbone.refinement.addition_steps": 4,
    "backbone.refinement.prune_llr": 60.0,
    "localizer.decision.min_score": 0.9,
    "localizer.multipath.min_llr": 6.0,
}


@pytest.fixture(scope="module")
def inference(eagerly: None, tiny_scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Trials:
    """Untrained weights."""
    options = InferenceOptions(
        run_dir=tmp_path_factory.mktemp("trainings"),
        data_dir=tiny_scenes,
        config=SCENE_SETS[:1],
        seed=1,
        initial=None,
        backbone=BASE,
        localizer=LocalizerConfig(multipath=MultipathConfig(rounds=1)),
    )
    return Trials(options, stage_1_scenes(tiny_scenes, SCENE_SETS[0], skip=8, take=4), patience=1)


@pytest.fixture(scope="module")
def trials(eagerly: None, tiny_scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Trials:
    """Of two steps each."""
    options = TrainOptions(
        run_dir=tmp_path_factory.mktemp("trainings"),
        data_dir=tiny_scenes,
        config=SCENE_SETS[:1],
        epochs=1,
        steps_per_epoch=2,
        batch_size=4,
        learning_rate=1e-2,
        backbone=BASE,
        multipath=MultipathConfig(rounds=0),
    )
    return Trials(options, stage_1_scenes(tiny_scenes, SCENE_SETS[0], skip=8, take=4), patience=1)


@pytest.mark.extended
def test_a_training_that_diverges_is_a_failed_trial(trials: Trials, tmp_path: Path, caplog, capfd) -> None:
    weights = [1e38, OTHER["losses.stein"]]
    space = hyperparameters({"losses.stein": Choice(tuple(weights))}, trials.base)
    candidates = [{"losses.stein": weight} for weight in weights]
    oracle = RerankOracle(candidates, kt.Objective(MVDR_FINAL, "min"), space, lambda done: False)
    with caplog.at_level(logging.INFO):
        TwoStageTuner(oracle, trials, 4, 1, tmp_path, "diverging", 2, logging.getLogger("test")).search(verbose=0)
    failed, completed = (oracle.trials[name] for name in ("0", "1"))
    assert (failed.status, completed.status) == (TrialStatus.FAILED, TrialStatus.COMPLETED)
    assert completed.score == pytest.approx(trials.run(candidates[1], scenes=4).objective)
    assert re.search(r"diverging trial 1/2  failed: epoch 1: the (loss|surrogate) is no longer finite", caplog.text)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.extended
def test_a_trial_that_hyperband_promotes_goes_on_from_what_it_had(trials: Trials, tmp_path: Path, monkeypatch) -> None:
    """Three trainings of one epoch, then the best of them from its second epoch to its third."""
    begun_at: list[int] = []
    original = loop.training_batches

    def recorded(options: TrainOptions, skip_batches: int) -> tf.data.Dataset:
        begun_at.append(skip_batches)
        return original(options, skip_batches)

    monkeypatch.setattr(loop, "training_batches", recorded)
    longer = Trials(
        dataclasses.replace(trials.base, epochs=3, steps_per_epoch=1, run_dir=tmp_path / "trainings"),  # type: ignore[arg-type]
        trials.batches,
        patience=3,
    )
    space = hyperparameters({"learning_rate": Range(1e-3, 1e-1, log=True)}, longer.base)
    oracle = search_oracle("hyperband", kt.Objective(SURROGATE, "min"), space, trials=4, epochs=3, seed=1)
    TwoStageTuner(oracle, longer, 4, 1, tmp_path, "promoting", 4, logging.getLogger("test")).search(verbose=0)
    assert begun_at == [0, 0, 0, 1]
    found = rows(oracle, longer, 4)
    assert [row.outcome.epochs for row in found if row.outcome] == [1, 1, 1, 3]
    best = min(found[:3], key=lambda row: row.outcome.surrogate if row.outcome else 0.0)
    assert found[3].values == best.values
    assert len(list((tmp_path / "trainings").iterdir())) == 3


def figures(trials: Trials, values: dict[str, Any], epochs: int) -> tuple[float, float]:
    outcome = trials.run(values, scenes=4, epochs=epochs)
    return outcome.surrogate, outcome.objective


@pytest.mark.extended
def test_the_same_values_come_to_the_same_and_torn_files_are_made_again(trials: Trials, tmp_path: Path) -> None:
    """The last checkpoint, the outcome and the counts cut in half; the epoch before is whole."""
    torn = Trials(dataclasses.replace(trials.base, run_dir=tmp_path), trials.batches, trials.patience)
    expected = figures(trials, {}, 1)
    assert figures(torn, {}, 1) == pytest.approx(expected, rel=1e-5)
    (folder,) = tmp_path.iterdir()
    files = [*folder.glob("checkpoints/ckpt-1.data*"), *folder.glob("outcome-*"), *folder.glob("tally-*")]
    assert len(files) == 3
    for path in files:
        os.truncate(path, path.stat().st_size // 2)
    assert figures(torn, {}, 1) == pytest.approx(expected, rel=1e-5)
    assert torn.tally({}, 4).true.shape == (4,)


@pytest.mark.extended
def test_the_surrogate_leaves_out_the_refinement_and_all_that_follows(trials: Trials, monkeypatch) -> None:
    """It cost 13.9 of the objective's 16.4 ms once."""
    assert isinstance(trials.base, TrainOptions)
    localizer, _ = prepare(trials.base)
    for owner, name in ((Backbone, "search"), (Refinement, "__call__"), (Localizer, "analyse")):
        monkeypatch.setattr(owner, name, lambda *_, name=name, **__: pytest.fail(name))
    assert np.isfinite(Surrogate(localizer, trials.batches)(lambda: None))


@pytest.mark.extended
def test_a_finalist_is_the_mean_of_its_seeds(trials: Trials, tmp_path: Path) -> None:
    values = {"learning_rate": 2e-2}
    space = hyperparameters({"learning_rate": Choice((2e-2, 3e-2))}, trials.base)
    oracle = RerankOracle([values], kt.Objective(MVDR_FINAL, "min"), space, lambda done: False)
    TwoStageTuner(oracle, trials, 4, 2, tmp_path, "seeds", 1, logging.getLogger("test")).search(verbose=0)
    first, second = trials.run_all(values, 4, seeds=2)
    assert oracle.trials["0"].score == pytest.approx((first.objective + second.objective) / 2.0)
    (row,) = rows(oracle, trials, 4, seeds=2)
    assert row.outcomes == (first, second)
    assert [trials.options(values, nth).seed for nth in range(2)] == [1, 2]
    assert trained(trials, values) != trained(trials, values, nth=1)


@pytest.mark.stage("tune")
def test_a_study_of_inference_trains_nothing_and_its_best_goes_to_export(
    eagerly: None, tiny_scenes: Path, tmp_path: Path, monkeypatch
) -> None:
    """With the weights that hold a part of it, where the best is not worse than the defaults."""
    space = tmp_path / "space.json"
    space.write_text(
        '{"backbone.refinement.steps": {"values": [3, 4]}, "localizer.decision.min_score": {"low": 0.3, "high": 0.39}}'
    )
    options = TuneOptions(
        run_dir=tmp_path,
        force=True,
        name="small",
        data_dir=tiny_scenes,
        config=SCENE_SETS[0],
        knobs="inference",
        space=space,
        trials=2,
        top=1,
        surrogate_scenes=2,
        probe_scenes=4,
        final_scenes=4,
        test_scenes=2,
        backbone=BASE,
        multipath=MultipathConfig(rounds=0),
    )
    Study(options, logging.getLogger("test")).run()
    stages = json.loads((tmp_path / "table.json").read_text())
    assert [len(found) for found in stages.values()] == [2, 1]
    assert {row["outcome"]["epochs"] for found in stages.values() for row in found} == {0}
    assert not list(tmp_path.rglob("checkpoints"))
    (record,) = tmp_path.glob("best*.json")
    values = json.loads(record.read_text())["values"]
    arguments = ["export", "--model-base-path", str(tmp_path / "model"), "--hyperparameters", str(record)]
    monkeypatch.setattr(sys, "argv", [*arguments, "--log-dir", str(tmp_path)])
    found = []
    monkeypatch.setattr(export.main, "work", lambda options, logger: found.append(options))
    export.main()
    assert found[0].localizer.decision.min_score == values["localizer.decision.min_score"]
    assert load_weights(found[0].backbone).backbone.config.refinement == dataclasses.replace(
        BASE.refinement, steps=values["backbone.refinement.steps"]
    )


def trained(trials: Trials, values: dict[str, Any], nth: int = 0) -> float:
    """The surrogate at the last epoch: the best one may be the start, which is the same for all."""
    options = trials.options(values, nth)
    assert isinstance(options, TrainOptions)
    options.run_dir.mkdir(exist_ok=True)
    return train_trial(options, trials.batches, options.epochs, trials.patience).surrogates[-1]


@pytest.fixture(scope="module")
def unchanged(trials: Trials) -> float:
    """What training comes to with the knobs as they are."""
    return trained(trials, {})


@pytest.mark.extended
@pytest.mark.parametrize("name", list(TRAINING_SPACE))
def test_each_knob_of_training_changes_what_is_learned(trials: Trials, unchanged: float, name: str) -> None:
    assert OTHER[name] != option(trials.base, name)
    assert abs(trained(trials, {name: OTHER[name]}) - unchanged) > 1e-3


@pytest.mark.extended
@pytest.mark.parametrize("name", list(INFERENCE_SPACE))
def test_each_knob_of_inference_changes_the_objective_of_given_weights(inference: Trials, name: str) -> None:
    assert OTHER[name] != option(inference.base, name)
    changed, unchanged = (inference.run(values, scenes=8).objective for values in ({name: OTHER[name]}, {}))
    assert abs(changed - unchanged) > 1e-3
