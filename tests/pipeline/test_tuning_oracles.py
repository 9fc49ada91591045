"""The oracles of `python -m pipeline.tune`: cut off after any write or with any file torn, they end at the same."""

import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner as kt
import numpy as np
import pytest
from keras_tuner.engine.trial import Trial, TrialStatus

from pipeline.tune import oracles
from pipeline.tune.oracles import Durable, RerankOracle, best_values, ends_first, search_oracle

OBJECTIVE = kt.Objective("score", "min")
TRIALS, BAYESIAN_TRIALS = 10, 5  # four of them random; a further one takes seconds


def space() -> kt.HyperParameters:
    found = kt.HyperParameters()
    found.Float("rate", 1e-4, 1.0, sampling="log")
    found.Int("steps", 1, 9)
    return found


def score(values: dict[str, Any]) -> float:
    return abs(np.log10(values["rate"]) + 2.0) + 0.1 * values["steps"] / (values.get("tuner/epochs") or 4)


def new_search(search: str) -> Durable:
    trials = BAYESIAN_TRIALS if search == "bayesian" else TRIALS
    return search_oracle(search, OBJECTIVE, space(), trials, epochs=4, seed=3)


def new_rerank(_: str = "") -> Durable:
    candidates = [{"rate": 10.0**-k, "steps": k + 1} for k in range(4)]
    return RerankOracle(candidates, OBJECTIVE, space(), lambda done: False)


KINDS: dict[str, Callable[[str], Durable]] = {
    **dict.fromkeys(("random", "bayesian", "hyperband"), new_search),
    "rerank": new_rerank,
}


def opened(kind: str, folder: Path) -> Durable:
    oracle = KINDS[kind](kind)
    oracle._set_project_dir(str(folder), "study")
    if (folder / "study" / "oracle.json").exists():
        oracle.reload()
    return oracle


def finish(oracle: Durable, ran: list[str]) -> None:
    """What KerasTuner's loop does, with a score that costs nothing."""
    while (trial := oracle.create_trial("tuner0")).status != TrialStatus.STOPPED:
        ran.append(trial.trial_id)
        oracle.update_trial(trial.trial_id, {"score": score(trial.hyperparameters.values)})
        trial.status = TrialStatus.COMPLETED
        oracle.end_trial(trial)


def outcome(oracle: Durable) -> dict[str, tuple[dict[str, Any], float]]:
    assert sorted(oracle.end_order) == sorted(oracle.start_order) == sorted(oracle.trials)
    return {name: (trial.hyperparameters.values, trial.score) for name, trial in oracle.trials.items()}


@pytest.fixture(scope="module", params=list(KINDS))
def history(request, tmp_path_factory: pytest.TempPathFactory):
    """Kind, the undisturbed outcome, and the folder as it was after each write of it."""
    folder, copies = tmp_path_factory.mktemp("live"), tmp_path_factory.mktemp("copies")
    counter = itertools.count()
    write = oracles._write

    def recorded(path: str, state: Any) -> None:
        write(path, state)
        shutil.copytree(folder, copies / f"{next(counter):04d}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracles, "_write", recorded)
        oracle = opened(request.param, folder)
        ran: list[str] = []
        finish(oracle, ran)
    assert len(ran) == len(set(ran)) == {"rerank": 4, "bayesian": BAYESIAN_TRIALS}.get(request.param, TRIALS)
    kept = sorted(copies.iterdir())
    assert len(kept) > 3 * len(ran)
    return request.param, outcome(oracle), kept[4::8] if request.param == "bayesian" else kept


def ended(folder: Path) -> set[str]:
    states = [json.loads(path.read_text()) for path in folder.glob("study/trial_*/trial.json")]
    return {state["trial_id"] for state in states if state["status"] == TrialStatus.COMPLETED}


def test_cut_off_after_any_write_it_ends_the_same_and_runs_nothing_twice(history, tmp_path: Path) -> None:
    kind, expected, copies = history
    for number, copy in enumerate(copies):
        folder = tmp_path / str(number)
        shutil.copytree(copy, folder)
        finished, ran = ended(folder), []
        oracle = opened(kind, folder)
        finish(oracle, ran)
        assert outcome(oracle) == expected, copy
        if (copy / "study" / "oracle.json").exists():
            assert not finished & set(ran), copy
        assert len(ran) == len(set(ran))


@pytest.mark.parametrize("length", [0, 0.5])
def test_torn_files_cost_no_trial(history, tmp_path: Path, length: float) -> None:
    kind, expected, copies = history
    copy = copies[len(copies) // 2]
    files = sorted(copy.rglob("*.json"))
    for number, path in enumerate(files[:1] if kind == "bayesian" else files):
        folder = tmp_path / str(number)
        shutil.copytree(copy, folder)
        torn = folder / path.relative_to(copy)
        os.truncate(torn, int(length * torn.stat().st_size))
        oracle = opened(kind, folder)
        said: list[str] = []
        oracle.log = said.append
        oracle.reload()
        assert "is torn" in said[0]
        finish(oracle, [])
        assert outcome(oracle) == expected, path


def test_kerastuners_own_oracle_does_run_a_finished_trial_again(tmp_path: Path) -> None:
    """Why `Durable` is there: its files as a kill between two writes leaves them."""
    oracle = kt.oracles.RandomSearchOracle(objective=OBJECTIVE, max_trials=2, hyperparameters=space(), seed=3)
    oracle.verbose = 0
    oracle._set_project_dir(str(tmp_path), "study")
    trial = oracle.create_trial("tuner0")
    before = (tmp_path / "study" / "oracle.json").read_bytes()
    oracle.update_trial(trial.trial_id, {"score": 1.0})
    trial.status = TrialStatus.COMPLETED
    oracle.end_trial(trial)
    (tmp_path / "study" / "oracle.json").write_bytes(before)
    theirs = kt.oracles.RandomSearchOracle(objective=OBJECTIVE, max_trials=2, hyperparameters=space(), seed=3)
    theirs.verbose = 0
    ours = search_oracle("random", OBJECTIVE, space(), 2, epochs=4, seed=3)
    again = []
    for one in (theirs, ours):
        one._set_project_dir(str(tmp_path), "study")
        one.reload()
        again.append(one.create_trial("tuner0").trial_id)
    assert again == ["0", "1"]


def test_a_silent_workers_trial_goes_to_another(tmp_path: Path) -> None:
    oracle = search_oracle("random", OBJECTIVE, space(), 1, epochs=4, seed=3)
    oracle._set_project_dir(str(tmp_path), "study")
    lost = oracle.create_trial("lost")
    assert oracle.create_trial("other").status == TrialStatus.IDLE  # it may have to take over
    oracle.lease_s = 0.0
    taken = oracle.create_trial("other")
    assert (taken.trial_id, taken.status) == (lost.trial_id, TrialStatus.RUNNING)
    oracle.lease_s = 100.0
    for worker in (taken, lost):  # it was not dead after all: its report changes nothing
        oracle.update_trial(worker.trial_id, {"score": 1.0})
        ending = Trial(worker.hyperparameters, worker.trial_id, TrialStatus.COMPLETED)
        oracle.end_trial(ending)
    assert oracle.end_order == [lost.trial_id]
    assert len(oracle.trials[lost.trial_id].metrics.get_history("score")[0].value) == 1
    assert oracle.create_trial("other").status == TrialStatus.STOPPED
    oracle.tuner_ids.seconds = 0.0
    assert len(oracle.tuner_ids) == 0  # what lets the chief end without the lost worker


def test_five_failures_in_a_row_end_a_search(tmp_path: Path) -> None:
    oracle = search_oracle("random", OBJECTIVE, space(), 100, epochs=4, seed=3)
    oracle._set_project_dir(str(tmp_path), "study")
    for _ in range(5):
        trial = oracle.create_trial("tuner0")
        trial.status = TrialStatus.FAILED
        oracle.end_trial(trial)
    assert oracle.create_trial("tuner0").status == TrialStatus.STOPPED


def test_stage_two_replays_completed_trials_only_each_once_and_without_hyperbands_keys(tmp_path: Path) -> None:
    oracle = new_search("hyperband")
    oracle._set_project_dir(str(tmp_path), "study")
    for number in range(TRIALS):
        trial = oracle.create_trial("tuner0")
        if number == 1:
            trial.status = TrialStatus.FAILED
        else:
            oracle.update_trial(trial.trial_id, {"score": score(trial.hyperparameters.values)})
            trial.status = TrialStatus.COMPLETED
        oracle.end_trial(trial)
    best = best_values(oracle, 50)
    assert all(set(values) == {"rate", "steps"} for values in best)
    unique = {json.dumps(values, sort_keys=True) for values in best}
    tried = [trial.hyperparameters.values for trial in oracle.trials.values() if trial.status == TrialStatus.COMPLETED]
    assert len(best) == len(unique) == len({(values["rate"], values["steps"]) for values in tried}) < TRIALS
    assert best[0] == min(best, key=lambda values: min(score(o) for o in tried if o["rate"] == values["rate"]))


def test_stage_two_starts_with_the_ends_of_the_ranking() -> None:
    assert ends_first([1, 2, 3, 4, 5]) == [1, 5, 2, 4, 3]
    assert ends_first([1]) == [1]


def test_stage_two_stops_once_it_is_hopeless(tmp_path: Path) -> None:
    asked: list[int] = []

    def hopeless(done: list[dict[str, Any]]) -> bool:
        asked.append(len(done))
        return len(done) >= 2

    oracle = new_rerank()
    oracle.hopeless = hopeless
    oracle._set_project_dir(str(tmp_path), "study")
    finish(oracle, ran := [])
    assert (ran, asked) == (["0", "1"], [0, 1, 2])
