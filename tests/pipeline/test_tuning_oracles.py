"""The oracles of `ris-mvdr tune`: stopped after any write or with any file damaged, they end with the same trials."""

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
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus

from pipeline.tune import oracles
from pipeline.tune.oracles import RerankOracle, ResumableOracle, best_values, ends_first, search_oracle
from pipeline.tune.tuner import TwoStageTuner

OBJECTIVE = kt.Objective("score", "min")
TRIALS, BAYESIAN_TRIALS = 10, 5  # four of them random; a further one takes seconds


def space() -> kt.HyperParameters:
    found = kt.HyperParameters()
    found.Float("rate", 1e-4, 1.0, sampling="log")
    found.Int("steps", 1, 9)
    return found


def score(values: dict[str, Any]) -> float:
    return abs(np.log10(values["rate"]) + 2.0) + 0.1 * values["steps"] / (values.get("tuner/epochs") or 4)


def new_search(search: str) -> ResumableOracle:
    trials = BAYESIAN_TRIALS if search == "bayesian" else TRIALS
    return search_oracle(search, OBJECTIVE, space(), trials, epochs=4, seed=3)


def new_rerank(_: str = "") -> ResumableOracle:
    candidates = [{"rate": 10.0**-k, "steps": k + 1} for k in range(4)]
    return RerankOracle(candidates, OBJECTIVE, space(), lambda done: False)


KINDS: dict[str, Callable[[str], ResumableOracle]] = {
    **dict.fromkeys(("random", "bayesian", "hyperband"), new_search),
    "rerank": new_rerank,
}


def opened(kind: str, folder: Path) -> ResumableOracle:
    return in_folder(KINDS[kind](kind), folder)


def in_folder(oracle: ResumableOracle, folder: Path) -> ResumableOracle:
    """As the tuner opens it."""
    BaseTuner(oracle, directory=str(folder), project_name="study")
    oracle.open(folder / "study")
    return oracle


def finish(oracle: ResumableOracle, ran: list[str]) -> None:
    """What KerasTuner's loop does, with a score that costs nothing."""
    while (trial := oracle.create_trial("tuner0")).status != TrialStatus.STOPPED:
        ran.append(trial.trial_id)
        oracle.update_trial(trial.trial_id, {"score": score(trial.hyperparameters.values)})
        trial.status = TrialStatus.COMPLETED
        oracle.end_trial(trial)


def outcome(oracle: ResumableOracle) -> dict[str, tuple[dict[str, Any], float]]:
    assert sorted(oracle.end_order) == sorted(oracle.start_order) == sorted(oracle.trials)
    return {name: (trial.hyperparameters.values, trial.score) for name, trial in oracle.trials.items()}


@pytest.fixture(scope="module", params=list(KINDS))
def history(request, tmp_path_factory: pytest.TempPathFactory):
    """Kind, the undisturbed outcome, and the folder as it was after each write of it."""
    folder, copies = tmp_path_factory.mktemp("live"), tmp_path_factory.mktemp("copies")
    counter = itertools.count()
    write = oracles._write

    def recorded(path: Path, state: Any) -> None:
        write(path, state)
        shutil.copytree(folder, copies / f"{next(counter):04d}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracles, "_write", recorded)
        oracle = opened(request.param, folder)
        ran: list[str] = []
        finish(oracle, ran)
    assert len(ran) == len(set(ran)) == {"rerank": 4, "bayesian": BAYESIAN_TRIALS}.get(request.param, TRIALS)
    kept = sorted(copies.iterdir())
    assert len(kept) == 2 * len(ran)  # as each starts and as it ends
    return request.param, outcome(oracle), kept[3::4] if request.param == "bayesian" else kept


def ended(folder: Path) -> set[str]:
    trials = json.loads((folder / "study" / "oracle.json").read_text())["trials"].values()
    return {trial["trial_id"] for trial in trials if trial["status"] == TrialStatus.COMPLETED}


@pytest.mark.extended
def test_cut_off_after_any_write_it_ends_the_same_and_runs_nothing_twice(history, tmp_path: Path) -> None:
    kind, expected, copies = history
    for number, copy in enumerate(copies):
        folder = tmp_path / str(number)
        shutil.copytree(copy, folder)
        finished, ran = ended(folder), []
        oracle = opened(kind, folder)
        finish(oracle, ran)
        assert outcome(oracle) == expected, copy
        assert not finished & set(ran), copy
        assert len(ran) == len(set(ran))


@pytest.mark.extended
@pytest.mark.parametrize("length", [0, 0.5])
def test_damaged_files_cost_no_trial(history, tmp_path: Path, length: float) -> None:
    kind, expected, copies = history
    copy = copies[len(copies) // 2]
    files = sorted(copy.rglob("*.json"))  # the state, and KerasTuner's own files of the trials
    assert len(files) > 2
    for number, path in enumerate(files[:1] if kind == "bayesian" else files):
        folder = tmp_path / str(number)
        shutil.copytree(copy, folder)
        damaged = folder / path.relative_to(copy)
        os.truncate(damaged, int(length * damaged.stat().st_size))
        oracle = opened(kind, folder)
        said: list[str] = []
        oracle.log = said.append
        oracle.reload()
        assert [" is damaged (" in line for line in said] == ([True] if path.name == "oracle.json" else [])
        finish(oracle, [])
        assert outcome(oracle) == expected, path


def test_one_file_decides_whether_a_finished_trial_runs_again(tmp_path: Path) -> None:
    """Why `ResumableOracle` exists: KerasTuner has two files, and a kill leaves one as it was before the end."""
    theirs = kt.oracles.RandomSearchOracle(objective=OBJECTIVE, max_trials=2, hyperparameters=space(), seed=3)
    theirs.verbose = 0
    BaseTuner(theirs, directory=str(tmp_path / "theirs"), project_name="study")
    ours = in_folder(search_oracle("random", OBJECTIVE, space(), 2, epochs=4, seed=3), tmp_path / "ours")
    again = []
    for oracle, stale in ((theirs, "theirs/study/oracle.json"), (ours, "ours/study/trial_0/trial.json")):
        trial = oracle.create_trial("tuner0")
        before = (tmp_path / stale).read_bytes()
        oracle.update_trial(trial.trial_id, {"score": 1.0})
        trial.status = TrialStatus.COMPLETED
        oracle.end_trial(trial)
        (tmp_path / stale).write_bytes(before)
        oracle.reload()
        again.append(oracle.create_trial("tuner0").trial_id)
    assert again == ["0", "1"]


def own_names(ours: type) -> set[str]:
    """What a class and its bases define outside KerasTuner."""
    classes = [base for base in ours.__mro__ if base.__module__.startswith("pipeline.")]
    return {name for base in classes for name in vars(base) if not name.startswith("__")}


def test_kerastuner_is_used_by_its_public_names_only(tmp_path: Path) -> None:
    """And no other name of ours is one of KerasTuner's: a new version that takes one would break a search unseen."""
    public = {"save", "reload", "get_state", "set_state", "populate_space", "trials", "ongoing_trials"}
    public |= {"create_trial", "get_trial", "update_trial", "end_trial"}
    attributes = {"state_file", "unfinished", "last_seen", "initial_state", "candidates", "should_stop"}
    for oracle in (*map(new_search, ("random", "bayesian", "hyperband")), new_rerank()):
        (theirs, *_) = (base for base in type(oracle).__mro__ if base.__module__.startswith("keras_tuner."))
        taken = {*dir(theirs), *vars(theirs(hyperparameters=space()))} & (own_names(type(oracle)) | attributes)
        assert taken <= public, f"{type(oracle).__name__}: rename {taken - public}, KerasTuner has them too"
    public = {"save", "pre_create_trial", "on_trial_begin", "run_trial", "on_trial_end"}
    attributes = {"scenes", "seeds", "total", "log", "seconds", "is_waiting"}
    taken = {*dir(BaseTuner), *vars(BaseTuner(new_rerank(), directory=str(tmp_path)))} & (
        own_names(TwoStageTuner) | attributes
    )
    assert taken <= public, f"TwoStageTuner: rename {taken - public}, KerasTuner has them too"
    for path in Path(oracles.__file__).parent.glob("*.py"):
        assert "keras_tuner.src" not in path.read_text(), f"{path}: expected public modules of KerasTuner only"


def test_a_silent_workers_trial_goes_to_another(tmp_path: Path) -> None:
    oracle = in_folder(search_oracle("random", OBJECTIVE, space(), 1, epochs=4, seed=3), tmp_path)
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
    oracle = in_folder(search_oracle("random", OBJECTIVE, space(), 100, epochs=4, seed=3), tmp_path)
    for _ in range(5):
        trial = oracle.create_trial("tuner0")
        trial.status = TrialStatus.FAILED
        oracle.end_trial(trial)
    assert oracle.create_trial("tuner0").status == TrialStatus.STOPPED


def test_stage_two_replays_completed_trials_only_each_once_and_without_hyperbands_keys(tmp_path: Path) -> None:
    oracle = in_folder(new_search("hyperband"), tmp_path)
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


def test_stage_two_stops_once_it_is_told_to(tmp_path: Path) -> None:
    asked: list[int] = []

    def should_stop(done: list[dict[str, Any]]) -> bool:
        asked.append(len(done))
        return len(done) >= 2

    oracle = new_rerank()
    oracle.should_stop = should_stop
    in_folder(oracle, tmp_path)
    finish(oracle, ran := [])
    assert (ran, asked) == (["0", "1"], [0, 1, 2])
