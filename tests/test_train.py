"""Training on real shards: resumes after SIGKILL as if nothing had happened, logs to files, refuses what it must."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.backbone import Backbone, BackboneConfig
from models.dictionary import GridConfig
from models.losses import LossConfig
from pipeline.data import DataOptions, build_scenes
from pipeline.export import load_backbone
from pipeline.scenes import load_scenes
from pipeline.training_model import BackboneTraining

NAME = "l64_m64_24_6_1"
SHAPE = [
    *("--backbone.stages", "2", "--backbone.width", "4", "--backbone.depth", "2"),
    *("--backbone.grid.num-azimuth", "8", "--backbone.grid.num-elevation", "6", "--backbone.grid.num-range", "4"),
    *("--backbone.active-atoms", "16"),
]
STEPS = ["--epochs", "4", "--steps-per-epoch", "2", "--batch-size", "4", "--validation-scenes", "6"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("scenes")
    build_scenes(DataOptions("l64_m64", 24, 6, 1, directory))
    return directory


def command(run_dir: Path, data_dir: Path, *more: str) -> list[str]:
    scenes = ["--config", NAME, "--data-dir", str(data_dir), "--run-dir", str(run_dir)]
    return [sys.executable, "-m", "pipeline.train", *scenes, *SHAPE, *STEPS, *more]


def weights(path: Path) -> list[np.ndarray]:
    return [variable.numpy() for variable in load_backbone(path).trainable_variables]


@pytest.fixture(scope="module")
def undisturbed(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "undisturbed"
    subprocess.run(command(run_dir, data_dir), check=True, capture_output=True)
    return run_dir


def test_killed_training_ends_like_an_undisturbed_one(data_dir: Path, undisturbed: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "killed"
    process = subprocess.Popen(
        command(run_dir, data_dir), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (run_dir / "checkpoints" / "ckpt-2.index").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    again = subprocess.run(command(run_dir, data_dir), check=True, capture_output=True, text=True)
    assert "resumed after epoch" in again.stdout + again.stderr
    checkpoints = [tf.train.load_checkpoint(str(path / "checkpoints")) for path in (run_dir, undisturbed)]
    names = [name for name in checkpoints[0].get_variable_to_shape_map() if name.startswith("weights/")]
    assert names
    for name in names:
        one, other = (checkpoint.get_tensor(name) for checkpoint in checkpoints)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6, err_msg=name)
    for one, other in zip(weights(run_dir / "backbone.keras"), weights(undisturbed / "backbone.keras"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_what_a_run_leaves(undisturbed: Path) -> None:
    log = "".join(path.read_text() for path in (undisturbed / "logs").glob("*.log"))
    lines = [line for line in log.splitlines() if "val_objective" in line]
    assert [line.split("epoch ")[1].split("/")[0] for line in lines] == ["0", "1", "2", "3", "4"]
    objectives = [float(line.split("val_objective ")[1].split()[0]) for line in lines]
    metrics = json.loads((undisturbed / "metrics.json").read_text())
    assert metrics["validation"][NAME]["objective"] == pytest.approx(min(objectives), abs=1e-3)
    assert json.loads((undisturbed / "config.json").read_text())["options"]["backbone"]["stages"] == 2
    events = list((undisturbed / "tensorboard").rglob("events.out.tfevents.*"))
    tags = {
        value.tag
        for path in events
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert {"epoch_loss", "epoch_objective"} <= tags


def test_finished_run_is_left_alone(data_dir: Path, undisturbed: Path) -> None:
    again = subprocess.run(command(undisturbed, data_dir), check=True, capture_output=True, text=True)
    assert "all 4 epochs are done already" in again.stdout + again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--losses.gap", "0.1"], "LossConfig.gap: expected 0, got 0.1"),
        (["--config", "l64_m65"], "l64_m65"),
    ],
)
def test_refusals_are_one_line(data_dir: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    found = subprocess.run(command(tmp_path / "run", data_dir, *arguments), capture_output=True, text=True)
    assert found.returncode != 0
    assert message in found.stderr
    assert "Traceback" not in found.stderr


def test_too_small_a_training_is_no_proof_of_learnability(data_dir: Path, undisturbed: Path) -> None:
    judged = [sys.executable, "-m", "pipeline.learnability", "--run-dir", str(undisturbed), "--data-dir", str(data_dir)]
    found = subprocess.run([*judged, "--config", NAME, "--scenes", "4"], capture_output=True, text=True)
    assert found.returncode == 1
    record = json.loads((undisturbed / "learnability.json").read_text())
    assert record["verdict"] == "FAIL"
    assert record["reason"] == "trained on 32 scenes, 100000 are asked for"
    assert record["scores"]["silence"]["f1"] == 0
    assert record["reason"] in found.stdout
    assert "Traceback" not in found.stderr


def test_losses_fall_where_they_are_trained(data_dir: Path) -> None:
    """Twenty steps on one batch lower every loss that has a weight; without weights there is nothing to train."""
    tf.keras.utils.set_random_seed(1)
    backbone = Backbone(config=BackboneConfig(stages=2, width=4, depth=2, active_atoms=16, grid=GridConfig(8, 6, 4)))
    losses = LossConfig(heat_map=1.0, stein=0.02, subspace_alignment=0.1, peak_contrast=0.1)
    model = BackboneTraining(backbone, losses)
    model.compile(optimizer=tf.keras.optimizers.Adam(1e-2))
    batch = next(iter(load_scenes(data_dir, NAME, "train", take=8, batch_size=8)))
    before = {name: float(value) for name, value in model.batch_losses(batch).items()}
    model.fit(tf.data.Dataset.from_tensors(batch).repeat(20), verbose=0)
    after = {name: float(value) for name, value in model.batch_losses(batch).items()}
    assert after["loss"] < before["loss"]
    assert after["heat_map"] < before["heat_map"]
    with pytest.raises(ValueError, match="LossConfig: expected at least one loss"):
        BackboneTraining(backbone, LossConfig(0.0, 0.0, 0.0, 0.0))
