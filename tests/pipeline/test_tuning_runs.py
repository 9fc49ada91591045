"""Studies of `python -m pipeline.tune`: undisturbed, killed, shared among workers of which one dies; all end alike."""

import contextlib
import json
import math
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorboard.plugins.hparams import plugin_data_pb2

from pipeline.common.artifacts import folder_lock
from pipeline.common.hyperparameters import read_hyperparameters
from pipeline.train.options import TrainOptions
from pipeline.tune import __main__ as tune
from tests.conftest import SCENE_SETS, TINY
from tests.forked import Forked
from tests.rigs.killed_at import killed_stage

TRIALS, TOP = 2, 2
EAGERLY = "tests.rigs.eagerly"
"""Half the time of a process; the test of a finished study runs graphs."""
STUDIES = ("small_stage1_surrogate", "small_stage1_surrogate_stage2_mvdr_final")
SPACE = {
    "learning_rate": {"low": 1e-3, "high": 3e-2, "log": True},
    "losses.stein": {"low": 1e-3, "high": 1.0, "log": True},
    "losses.subspace_alignment": {"low": 1e-2, "high": 10.0, "log": True},
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, tiny_scenes: Path) -> list[str]:
    """Options of all studies but their folder."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "space.json").write_text(json.dumps(SPACE))
    record = {"verdict": "PASS", "reason": "as measured", "options": {"config": SCENE_SETS[0]}}
    record |= {"model": "a" * 64, "started_from": "untrained"}
    (folder / "learnability.json").write_text(json.dumps(record))
    grid = zip(("azimuth", "elevation", "range"), TINY.grid.shape, strict=True)
    return [
        *("--data-dir", str(tiny_scenes), "--config", SCENE_SETS[0], "--name", "small"),
        *("--learnability", str(folder / "learnability.json"), "--space", str(folder / "space.json")),
        *("--trials", str(TRIALS), "--top", str(TOP), "--epochs", "2", "--steps-per-epoch", "2", "--batch-size", "4"),
        *("--surrogate-scenes", "4", "--probe-scenes", "12", "--final-scenes", "12", "--test-scenes", "0"),
        *("--backbone.stages", "1", "--backbone.width", "4", "--backbone.depth", "2", "--backbone.active-atoms", "16"),
        *(part for axis, cells in grid for part in (f"--backbone.grid.num-{axis}", str(cells))),
        *("--backbone.refinement.additions", "0", "--multipath.rounds", "0", "--force", "--lease-s", "15"),
        *("--seeds", "1", "--backbone.refinement.settling-steps", "0"),
    ]


def start(options: list[str], **environment: str) -> Forked:
    return Forked(EAGERLY, "pipeline.tune", *options, environment=environment)


def table(run_dir: Path) -> Any:
    return json.loads((run_dir / "table.json").read_text())


@pytest.fixture(scope="module")
def undisturbed(given: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    run_dir = tmp_path_factory.mktemp("undisturbed")
    process = start(["--run-dir", str(run_dir), *given])
    console, errors = process.communicate()
    assert process.returncode == 0, console + errors
    return run_dir, console


@pytest.mark.extended
def test_every_trial_of_both_stages_is_in_the_table(undisturbed) -> None:
    stages = table(undisturbed[0])
    assert [len(stages[name]) for name in STUDIES] == [TRIALS, TOP]
    for row in [*stages[STUDIES[0]], *stages[STUDIES[1]]]:
        assert set(row["values"]) == set(SPACE)
        assert row["outcome"]["scenes"] == 12
        assert math.isfinite(row["outcome"]["surrogate"] + row["outcome"]["objective"])
    ranked = sorted(stages[STUDIES[0]], key=lambda row: row["outcome"]["surrogate"])
    assert [row["values"] for row in stages[STUDIES[1]]] == [row["values"] for row in ranked[:TOP]]
    assert len({row["outcome"]["surrogate"] for row in stages[STUDIES[0]]}) == TRIALS


@pytest.mark.extended
def test_a_live_line_a_trial(undisturbed) -> None:
    run_dir, console = undisturbed
    for name, trials in zip(STUDIES, (TRIALS, TOP), strict=True):
        lines = re.findall(
            rf"{name} trial (\d)/{trials}  surrogate ([\d.]+)  objective ([\d.]+)  F1 [\d.]+  "
            r"best (?:surrogate|mvdr_final) so far ([\d.]+)  \d+ s  \d+ s left",
            console,
        )
        assert [int(line[0]) for line in lines] == list(range(1, trials + 1))
        scores = [float(line[1 if name == STUDIES[0] else 2]) for line in lines]
        assert [float(line[3]) for line in lines] == [min(scores[: n + 1]) for n in range(trials)]
    (log,) = (run_dir / "logs").glob("tune-*.log")
    assert all(line in log.read_text() for line in re.findall(r"^small.* left$", console, re.MULTILINE))


@pytest.mark.extended
def test_tensorboard_shows_hyperparameters(undisturbed) -> None:
    run_dir, _ = undisturbed
    (path,) = (run_dir / "tensorboard" / STUDIES[0] / "1").iterdir()
    shown = {}
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            if value.tag == "_hparams_/session_start_info":
                data = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
                shown = {name: item.number_value for name, item in data.session_start_info.hparams.items()}
    assert shown == table(run_dir)[STUDIES[0]][1]["values"]


@pytest.mark.extended
def test_the_report_says_that_it_was_forced(undisturbed) -> None:
    page = (undisturbed[0] / "report.html").read_text()
    assert page.count("<svg") >= 5
    assert "--force: candidates ranked although they can&#x27;t be told apart (2 candidates: spread" in page


@pytest.mark.extended
def test_killed_again_and_again_it_ends_with_the_same_table(undisturbed, given: list[str], tmp_path: Path) -> None:
    """Within a training, between a training and its record, and as the table is written; the rig kills at random."""
    expected, options = table(undisturbed[0]), ["--run-dir", str(tmp_path), *given]
    for moment in (
        ("pipeline.fitting.loop:TrainingLoop.end_epoch", 2),
        ("pipeline.tune.trial:train_trial", 1),
        ("pipeline.tune.study:write_report", 1),
    ):
        killed_stage(*moment, "tune", *options, rig=[EAGERLY])
    process = start(options)
    console, errors = process.communicate()
    assert process.returncode == 0, console + errors
    assert table(tmp_path) == expected
    found, expected = (read_hyperparameters(path / "best_trial.json") for path in (tmp_path, undisturbed[0]))
    assert found == expected


@contextlib.contextmanager
def two_ports() -> Iterator[int]:
    """The first of two ports in a row, as Stage 2 takes the next one; nobody but gRPC, which shares, can have them."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            for end in (one, other):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            yield port
            return


@pytest.mark.extended
def test_chief_and_two_workers_one_of_them_killed(undisturbed, given: list[str], tmp_path: Path) -> None:
    """The second begins once the first has a trial: it may not take them all before that."""
    options = ["--run-dir", str(tmp_path), *given]
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(two_ports())
        place = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}

        def started(name: str) -> Forked:
            process = start(options, KERASTUNER_TUNER_ID=name, **place)
            stack.callback(process.kill)
            return process

        chief, lost = started("chief"), started("worker0")
        working = tmp_path / STUDIES[0] / "oracle.json"
        while not (working.exists() and "worker0" in json.loads(working.read_text())["ongoing_trials"]):
            assert chief.poll() is None and lost.poll() is None
            time.sleep(0.05)
        other = started("worker1")
        lost.kill()
        lost.communicate()
        consoles = ["".join(process.communicate()) for process in (other, chief)]
    assert (other.returncode, chief.returncode) == (0, 0), consoles
    assert re.search(r"worker worker0 is inactive for \d+ s: trial \d is reassigned", consoles[1])
    expected = table(undisturbed[0])
    found = table(tmp_path)
    assert found[STUDIES[0]] == expected[STUDIES[0]]
    assert found[STUDIES[1]] == expected[STUDIES[1]]


@pytest.mark.extended
def test_best_json_reproduces_the_trials_score(undisturbed, tiny_scenes: Path, tmp_path: Path) -> None:
    """As it does where nothing compared it with the defaults, and the file has another name."""
    assert not (undisturbed[0] / "best.json").exists()
    path = undisturbed[0] / "best_trial.json"
    best = json.loads(path.read_text())
    places = ["--run-dir", str(tmp_path), "--data-dir", str(tiny_scenes)]
    process = Forked("pipeline.train", *places, "--hyperparameters", str(path))
    console, errors = process.communicate()
    assert process.returncode == 0, errors
    objectives = dict(re.findall(r"epoch (\d)/2 .*?val_objective (\S+)", console))
    outcome = best["outcome"]
    assert float(objectives[str(outcome["best_epoch"])]) == pytest.approx(outcome["objective"], abs=1e-4)
    trained = json.loads((tmp_path / "config.json").read_text())["options"]
    assert trained["learning_rate"] == best["values"]["learning_rate"] != TrainOptions(tmp_path).learning_rate
    assert trained["losses"]["stein"] == best["values"]["losses.stein"]


@pytest.mark.extended
def test_a_finished_study_compares_its_best_with_the_defaults(
    undisturbed, given: list[str], monkeypatch, capsys
) -> None:
    """And trains nothing but the defaults."""
    run_dir, _ = undisturbed
    before = {path: path.read_bytes() for path in run_dir.rglob("outcome-*.json")}
    monkeypatch.setattr(sys, "argv", ["tune", "--run-dir", str(run_dir), *given, "--test-scenes", "4"])
    tune.main()
    assert {path: path.read_bytes() for path in run_dir.rglob("outcome-*.json")} == before
    console = capsys.readouterr().out
    assert "trial 1/" not in console
    assert re.search(r"best trial, seed 1, on 4 test scenes: .*\n.*defaults, seed 1, on 4 test scenes: ", console)
    worse = (run_dir / "best_trial.json").exists()
    assert ("no best.json: the best trial is worse than the defaults on the test scenes; see" in console) is worse
    assert (run_dir / "best.json").exists() is not worse
    record = json.loads((run_dir / ("best_trial.json" if worse else "best.json")).read_text())
    against = record["objective_minus_defaults"]
    assert against["interval"][0] <= against["difference"] <= against["interval"][1]
    assert (against["difference"] > 0) is worse


# What is refused, in one clear line


def unforced(options: list[str]) -> list[str]:
    return [part for part in options if part != "--force"]


def test_without_a_verdict_it_refuses(given: list[str], tmp_path: Path, refused) -> None:
    options = unforced(given)
    place = options.index("--learnability") + 1
    failed = tmp_path / "learnability.json"
    record = {"verdict": "FAIL", "reason": "no gain", "options": {"config": SCENE_SETS[0]}}
    failed.write_text(json.dumps({**record, "model": "a" * 64, "started_from": "untrained"}))
    for path, message in ((tmp_path / "nowhere.json", "got none at"), (failed, "got FAIL in")):
        options[place] = str(path)
        said = refused("tune", "--run-dir", str(tmp_path / "run"), *options)
        assert said.startswith("--learnability: expected the learnability.json of a training with verdict PASS, ")
        assert message in said
        assert not (tmp_path / "run" / STUDIES[0]).exists()


@pytest.mark.extended
def test_candidates_that_noise_explains_stop_it_with_the_two_numbers(undisturbed, given: list[str], refused) -> None:
    """Two candidates on 12 scenes; the report keeps what there is."""
    run_dir, _ = undisturbed
    said = refused("tune", "--run-dir", str(run_dir), *unforced(given))
    assert re.search(
        r"Stage 2 stopped, its candidates can't be told apart: 2 candidates: spread of the objective [\d.]+, "
        r"not above the [\d.]+ that noise of scenes alone gives",
        said,
    )
    assert "gate: Stage 2 stopped after 2 of 2" in (run_dir / "report.html").read_text()


@pytest.mark.extended
def test_another_studys_folder_is_left_alone(undisturbed, given: list[str], refused) -> None:
    run_dir, _ = undisturbed
    said = refused("tune", "--run-dir", str(run_dir), *given, "--epochs", "3")
    assert f"--epochs: expected 2, the value that the study in {run_dir} was started with, got 3" in said


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--final-scenes", "13", "--final-scenes and --surrogate-scenes together: expected at most 16, the validation"),
        ("--probe-scenes", "17", "--probe-scenes: expected at most 16, the validation scenes there are, got 17"),
        ("--test-scenes", "9", "--test-scenes: expected at most 8, the test scenes there are, got 9"),
    ],
)
def test_more_scenes_than_there_are(
    given: list[str], tmp_path: Path, refused, option: str, value: str, message: str
) -> None:
    assert message in refused("tune", "--run-dir", str(tmp_path), *given, option, value)


@pytest.mark.extended
def test_two_processes_do_not_share_a_study(undisturbed, given: list[str], refused) -> None:
    run_dir, _ = undisturbed
    with folder_lock(run_dir):
        assert "which is in use" in refused("tune", "--run-dir", str(run_dir), *given)
