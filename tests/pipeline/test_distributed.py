"""One training on one device, on two, and by two workers, one of which is killed on the way: it comes to the same."""

import contextlib
import json
import signal
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.artifacts import load_weights
from pipeline.common.main import ERROR
from pipeline.fitting.workers import Worker, this_worker
from pipeline.train import __main__ as train
from pipeline.train.options import START_MODEL
from tests.forked import Forked
from tests.pipeline.test_training_runs import arguments, scalars

EPOCHS = 2
AFTER_EPOCH_1 = ("pipeline.fitting.loop:TrainingLoop.end_epoch", "2")  # epoch 0 is the start
SPREAD = ("mirrored", "multi_worker")


def command(run_dir: Path, data_dir: Path, strategy: str) -> list[str]:
    """A stage and its arguments; with two replicas, each has scenes of another set."""
    short = ("--epochs", EPOCHS, "--validation-scenes", 4, "--backbone.refinement.steps", 1, "--losses.stein", 0)
    return ["train", *arguments(run_dir, data_dir), *map(str, short), "--strategy", strategy]


def cluster() -> list[str]:
    """Two addresses of this machine that are free."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [f"localhost:{one.getsockname()[1]}" for one in sockets]


def start(given: list[str], *rig: str, config: object = None) -> Forked:
    """A stage as a process, under a rig, or as one of several."""
    environment = {} if config is None else {"TF_CONFIG": json.dumps(config)}
    line = [*rig, *given] if rig else ["pipeline.train", *given[1:]]
    return Forked(*line, environment=environment)


def workers(given: list[str], *rig: str) -> list[tuple[int, str, str]]:
    """Exit status, stdout and stderr of two workers, the second under a rig."""
    addresses = cluster()
    tasks = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} for index in range(2)]
    started = [start(given, config=tasks[0]), start(given, *rig, config=tasks[1])]
    said = [process.communicate() for process in started]
    return [(process.returncode, *both) for process, both in zip(started, said, strict=True)]


@pytest.fixture(scope="module")
def runs(tiny_scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the trainings by strategy; of the last, a worker is killed after an epoch, and all start again."""
    folder = tmp_path_factory.mktemp("spread")
    lines = {name: command(folder / name, tiny_scenes, name) for name in ("single", *SPREAD)}
    devices = start(lines["mirrored"], "tests.rigs.two_devices")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", lines["single"])
        train.main()
    said = devices.communicate()
    assert devices.returncode == 0, said
    (chief, _, refusal), (killed, _, _) = workers(lines["multi_worker"], "tests.rigs.killed_at", *AFTER_EPOCH_1)
    assert (chief, killed) == (ERROR, -signal.SIGKILL), refusal
    assert refusal.endswith(
        "another worker has ended; run the same command on all workers to resume from the last checkpoint\n"
    )
    again = workers(lines["multi_worker"])
    assert [status for status, _, _ in again] == [0, 0], again
    assert all("resumed after epoch 1 from " in shown for _, shown, _ in again)
    return {name: folder / name for name in lines}


@pytest.mark.extended
@pytest.mark.parametrize("strategy", SPREAD)
def test_losses_are_those_of_one_worker(runs, strategy: str) -> None:
    one, several = (scalars(runs[name] / "tensorboard") for name in ("single", strategy))
    assert one.keys() == several.keys() and set(one["loss"]) == {1, 2}
    for epoch, loss in one["loss"].items():
        assert several["loss"][epoch] == pytest.approx(loss, abs=1e-4)
    for name, by_epoch in one.items():
        assert several[name] == pytest.approx(by_epoch, rel=1e-4), name


@pytest.mark.extended
@pytest.mark.parametrize("strategy", SPREAD)
def test_weights_are_those_of_one_worker(runs, strategy: str) -> None:
    one, several = (tf.train.load_checkpoint(str(runs[name] / "checkpoints")) for name in ("single", strategy))
    names = [name for name in one.get_variable_to_shape_map() if name.startswith(("weights/", "optimizer/"))]
    for name in names:
        np.testing.assert_allclose(several.get_tensor(name), one.get_tensor(name), atol=1e-4, err_msg=name)
    before = load_weights(runs["single"] / START_MODEL).backbone.learned_variables
    ends = [several.get_tensor(f"weights/{n}/.ATTRIBUTES/VARIABLE_VALUE") for n in range(len(before))]
    assert max(np.abs(end - start).max() for end, start in zip(ends, before, strict=True)) > 1e-3


@pytest.mark.extended
@pytest.mark.parametrize("strategy", SPREAD)
def test_the_chief_alone_writes(runs, strategy: str) -> None:
    one, several = (sorted(path.name for path in runs[name].iterdir()) for name in ("single", strategy))
    assert one == several
    starts = 2 if strategy == "multi_worker" else 1  # one before the kill, one after it
    assert len(list(runs[strategy].rglob("events.out.tfevents.*"))) == starts
    assert len(list((runs[strategy] / "logs").glob("train-*.log"))) == starts
    assert len(list((runs[strategy] / "logs").glob("worker-2/*.log"))) == (2 if strategy == "multi_worker" else 0)
    facts = [json.loads((runs[name] / "manifest.json").read_text())["facts"] for name in ("single", strategy)]
    assert facts[0] == facts[1]


@pytest.mark.extended
@pytest.mark.parametrize("strategy", SPREAD)
def test_a_finished_run_is_done_whatever_it_ran_on(runs, tiny_scenes: Path, monkeypatch, capsys, strategy: str) -> None:
    monkeypatch.setattr(sys, "argv", command(runs[strategy], tiny_scenes, "single"))
    train.main()
    assert "nothing has changed" in capsys.readouterr().out


def test_workers_are_counted_from_the_chief(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    for rank, task in enumerate([("chief", 0), ("worker", 0), ("worker", 1)]):
        config = {"cluster": cluster, "task": {"type": task[0], "index": task[1]}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        assert this_worker("multi_worker") == Worker(rank, 3)
        assert this_worker("multi_worker").is_chief == (rank == 0)
        assert this_worker("single") == this_worker("mirrored") == Worker(0, 1)


@pytest.mark.parametrize(
    "config", [None, "{", "[]", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}']
)
def test_workers_need_a_valid_tf_config(
    tiny_scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused, config: str | None
) -> None:
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    line = refused(*command(tmp_path / "run", tiny_scenes, "multi_worker"))
    assert line.startswith(
        '--strategy multi_worker: expected TF_CONFIG with "cluster" and a "task" that is a "chief" or'
    )
    assert line.endswith(f"got {config or 'none'}")
