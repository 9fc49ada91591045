"""Runs of `python -m pipeline.train` on two sets at once: killed and resumed, recorded, never worse than untrained."""

import dataclasses
import json
import logging
import math
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.artifacts import load_weights
from models.config import LossConfig
from models.covariance_estimator.backbone import Backbone
from models.localizer_weights import LocalizerWeights
from models.physics.geometry import Scenario
from pipeline.common.digests import content_digest
from pipeline.train import __main__ as train
from pipeline.train.options import BEST_MODEL, START_MODEL, TrainOptions
from pipeline.train.training import backbone_training, prepare
from tests.conftest import SCENE_SETS, TINY
from tests.forked import Forked
from tests.rigs.killed_at import killed_stage

EPOCHS, STEPS = 3, 2


def arguments(run_dir: Path, data_dir: Path) -> list[str]:
    """Command line of a run with backbone `TINY`."""
    grid = zip(("azimuth", "elevation", "range"), TINY.grid.shape, strict=True)
    return [
        *("--run-dir", str(run_dir), "--data-dir", str(data_dir), "--config", *SCENE_SETS),
        *("--epochs", str(EPOCHS), "--steps-per-epoch", str(STEPS), "--batch-size", "4", "--validation-scenes", "8"),
        *("--backbone.stages", "1", "--backbone.width", "4", "--backbone.depth", "2", "--backbone.active-atoms", "16"),
        *(part for axis, cells in grid for part in (f"--backbone.grid.num-{axis}", str(cells))),
        *("--backbone.refinement.steps", "4", "--backbone.refinement.additions", "0"),
        *("--multipath.rounds", "0"),
    ]


def start(run_dir: Path, data_dir: Path) -> Forked:
    return Forked("pipeline.train", *arguments(run_dir, data_dir))


def epoch_lines(text: str) -> dict[int, dict[str, float]]:
    """Figures of the lines "epoch E/EPOCHS  name value ..." by epoch."""
    found = re.findall(rf"epoch (\d+)/{EPOCHS}  (.*?)  \d+ s left", text)
    return {
        int(epoch): {name: float(value) for name, value in re.findall(r"(\S+) (\S+)", line)} for epoch, line in found
    }


@pytest.fixture(scope="module")
def runs(tiny_scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Folder and console of an undisturbed run, and of one killed as its second epoch's checkpoint was written, which
    is cut short, and run again."""
    folder = tmp_path_factory.mktemp("runs")
    undisturbed = start(folder / "undisturbed", tiny_scenes)
    after_epoch_2 = ("pipeline.fitting.loop:TrainingLoop.end_epoch", 3)  # the start is scored, too
    first_part = killed_stage(*after_epoch_2, "train", *arguments(folder / "killed", tiny_scenes))
    assert max(epoch_lines(first_part)) == 2 < EPOCHS
    (torn,) = (folder / "killed" / "checkpoints").glob("ckpt-2.data*")
    torn.write_bytes(torn.read_bytes()[:100])
    again = start(folder / "killed", tiny_scenes)
    consoles = {"undisturbed": undisturbed.communicate()[0], "killed": first_part + again.communicate()[0]}
    assert (undisturbed.returncode, again.returncode) == (0, 0)
    return {name: (folder / name, console) for name, console in consoles.items()}


@pytest.mark.extended
def test_a_killed_run_goes_on_and_ends_as_if_undisturbed(runs) -> None:
    """From the last checkpoint that is whole."""
    (undisturbed, _), (killed, console) = runs["undisturbed"], runs["killed"]
    assert re.search(r"resumed after epoch 1 from ", console)
    facts = [json.loads((run / "manifest.json").read_text())["facts"] for run in (killed, undisturbed)]
    assert facts[0] == facts[1]
    ends = [tf.train.load_checkpoint(str(run / "checkpoints")) for run in (killed, undisturbed)]
    names = ends[0].get_variable_to_shape_map().keys()
    assert names == ends[1].get_variable_to_shape_map().keys()
    weights = load_weights(undisturbed / BEST_MODEL).backbone.learned_variables
    assert len([name for name in names if name.startswith("weights/")]) == len(weights)
    for name in names:
        if name.startswith(("weights/", "optimizer/", "epochs_done/", "scores/")):
            one, other = (end.get_tensor(name) for end in ends)
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5, err_msg=name)
    assert content_digest(killed / BEST_MODEL) == content_digest(undisturbed / BEST_MODEL)
    one, other = (json.loads((run / "metrics.json").read_text()) for run in (killed, undisturbed))
    assert one["epoch"] == other["epoch"]
    for name in SCENE_SETS:
        for key in ("objective", "rmse_xyz_m"):
            assert one["validation"][name][key] == pytest.approx(other["validation"][name][key], rel=1e-3)


@pytest.mark.extended
def test_both_runs_validated_every_epoch_alike(runs) -> None:
    one, other = (epoch_lines(runs[name][1]) for name in ("killed", "undisturbed"))
    assert sorted(one) == sorted(other) == list(range(EPOCHS + 1))
    for epoch in other:
        assert one[epoch]["val_objective"] == pytest.approx(other[epoch]["val_objective"], abs=2e-3)


@pytest.mark.extended
@pytest.mark.parametrize("name", ["undisturbed", "killed"])
def test_log_files_hold_what_the_console_showed(runs, name: str) -> None:
    folder, console = runs[name]
    logs = sorted((folder / "logs").glob("train-*.log"))
    assert len(logs) == (1 if name == "undisturbed" else 2)
    logged = "".join(path.read_text() for path in logs)
    assert epoch_lines(logged) == epoch_lines(console)
    for shown in re.findall(r"^(?:log: |resumed after |best validation ).*$", console, re.MULTILINE):
        assert shown in logged


@pytest.mark.extended
def test_best_model_is_that_of_the_best_epoch(runs) -> None:
    folder, console = runs["undisturbed"]
    objectives = {epoch: line["val_objective"] for epoch, line in epoch_lines(console).items()}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert objectives[metrics["epoch"]] == min(objectives.values())
    mean = np.mean([metrics["validation"][name]["objective"] for name in SCENE_SETS])
    assert mean == pytest.approx(min(objectives.values()), abs=1e-4)


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """TensorBoard scalars by tag and step."""
    found: dict[str, dict[int, float]] = {}
    for path in folder.rglob("events.out.tfevents.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.HasField("tensor") and value.tensor.dtype == tf.float32.as_datatype_enum:
                    found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return found


@pytest.mark.extended
@pytest.mark.parametrize("name", ["undisturbed", "killed"])
def test_tensorboard_holds_the_figures_of_the_log(runs, name: str) -> None:
    """A resumed run leaves no gap."""
    folder, console = runs[name]
    found, lines = scalars(folder / "tensorboard"), epoch_lines(console)
    for epoch, line in lines.items():
        assert {"val_objective", "val_f1"} <= line.keys()
        for name, value in line.items():
            assert found[name][epoch] == pytest.approx(value, abs=1e-4)


@pytest.mark.extended
def test_logged_loss_is_the_weighted_sum_of_its_logged_parts(runs) -> None:
    lines, weights = epoch_lines(runs["undisturbed"][1]), LossConfig()
    for epoch in range(1, EPOCHS + 1):
        parts = {name: lines[epoch][name] for name in ("heat_map", "stein", "subspace_alignment", "start")}
        total = sum(getattr(weights, name) * part for name, part in parts.items())
        assert lines[epoch]["loss"] == pytest.approx(total, abs=2e-4)


@pytest.mark.extended
def test_config_says_what_was_run(runs, tiny_scenes: Path) -> None:
    folder, _ = runs["undisturbed"]
    config = json.loads((folder / "config.json").read_text())
    expected = arguments(folder, tiny_scenes)
    assert config["command"][1:] == expected
    options = config["options"]
    assert options["config"] == list(SCENE_SETS)
    assert options["backbone"]["grid"] == {"num_azimuth": 11, "num_elevation": 7, "num_range": 5}
    assert (options["seed"], options["epochs"], options["losses"]["stein"]) == (1, EPOCHS, LossConfig().stein)
    assert {"python", "tensorflow", "keras", "numpy"} <= config["versions"].keys()


@pytest.fixture(scope="module")
def initial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Given weights to start from: two stages, corrections small but not zero."""
    keras.utils.set_random_seed(8)
    backbone = Backbone(Scenario(), dataclasses.replace(TINY, stages=2))
    rng = np.random.default_rng(8)
    for correction in backbone.corrections:
        correction.readout.kernel.assign(0.01 * rng.normal(size=correction.readout.kernel.shape))
    path = tmp_path_factory.mktemp("initial") / "backbone.keras"
    LocalizerWeights(backbone).save(path)
    return path


@pytest.mark.extended
def test_weights_it_starts_from_win_over_a_training_that_ruins_them(
    tiny_scenes: Path, initial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At learning rate 3 every epoch is worse than none: the model kept is that of epoch 0, with all its weights."""
    options = ["--initial", str(initial), "--learning-rate", "3", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", ["train", *arguments(tmp_path, tiny_scenes), *options])
    train.main()
    assert json.loads((tmp_path / "metrics.json").read_text())["epoch"] == 0
    begun = json.loads((tmp_path / "manifest.json").read_text())["facts"]["started_from"]
    assert begun == content_digest(initial)  # which a verdict compares the training with
    given, kept = load_weights(initial), load_weights(tmp_path / BEST_MODEL)
    for one, other in zip(load_weights(tmp_path / START_MODEL).get_weights(), given.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert kept.backbone.config == given.backbone.config
    for one, other in zip(kept.trainable_variables, given.trainable_variables, strict=True):
        np.testing.assert_array_equal(one, other)
    end = tf.train.load_checkpoint(str(tmp_path / "checkpoints"))
    moved = [end.get_tensor(name) for name in end.get_variable_to_shape_map() if name.startswith("weights/")]
    assert max(np.abs(weight).max() for weight in moved) > 1.0
    (log,) = (tmp_path / "logs").iterdir()
    objectives = dict(re.findall(r"epoch (\d)/1 .*?val_objective (\S+)", log.read_text()))
    assert float(objectives["0"]) + 1 < float(objectives["1"])


@pytest.mark.extended
def test_a_finished_run_is_left_alone(runs, tiny_scenes: Path, monkeypatch, capsys) -> None:
    folder, _ = runs["undisturbed"]
    before = {path: path.read_bytes() for path in (folder / BEST_MODEL, folder / "metrics.json")}
    monkeypatch.setattr(sys, "argv", ["train", *arguments(folder, tiny_scenes)])
    train.main()
    assert f"nothing has changed, {folder} stays as it is" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before


def test_a_loss_that_is_no_longer_finite_stops_the_training(tiny_scenes: Path, tmp_path: Path) -> None:
    """And the model that was the best so far stays."""
    options = TrainOptions(tmp_path, data_dir=tiny_scenes, config=SCENE_SETS[:1], backbone=TINY, validation_scenes=4)
    training = backbone_training(options, *prepare(options), logging.getLogger("test"))
    training.validation = lambda: {SCENE_SETS[0]: {"objective": 1.0, "standard": {"f1": 0.5}}}
    training.end_epoch(0, {})
    before = (tmp_path / BEST_MODEL).read_bytes()
    with pytest.raises(ValueError, match="epoch 3: the loss is no longer finite; expected a lower --learning-rate"):
        training.end_epoch(3, {"loss": math.nan, "stein": 3.0})
    assert (tmp_path / BEST_MODEL).read_bytes() == before


# What is refused, in one clear line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--losses.margin", "0.1"], "LossConfig.margin: expected 0, got 0.1: this loss back-propagates through"),
        (["--losses.gap", "1"], "unstable where they meet; use subspace_alignment"),
        (["--losses.stein", "-1"], "LossConfig.stein: expected 0 or more, got -1.0"),
        (["--epochs", "0"], "--epochs: expected 1 or more, got 0"),
        (["--epochs", "two"], "--epochs: invalid literal for int() with base 10: 'two'"),
        (["--batch-size", "5"], "--batch-size: expected a multiple of the 2 sets, got 5"),
        (["--learning-rate", "nan"], "--learning-rate: expected a finite number, got nan"),
        (["--backbone.grid.num-range", "2"], "GridConfig.num_range: expected 3 or more, got 2"),
        (["--backbone.active-atoms", "386"], "BackboneConfig.active_atoms: expected 1 to 385, got 386"),
        (["--bogus", "3"], "Unrecognized options: --bogus"),
        (["--config", "l64_m64_1_2_3"], "no scenes l64_m64_1_2_3 in"),
        (["--config", "l64_m64", "l64_m64_legacy"], "--config: expected sets of one scenario"),
        (["--validation-scenes", "17"], "expected 1 to 16, the number of validation scenes in l64_m64_32_16_8, got 17"),
    ],
)
def test_bad_options(tiny_scenes: Path, tmp_path: Path, refused, options: list[str], message: str) -> None:
    assert message in refused("train", *arguments(tmp_path / "run", tiny_scenes), *options)
    assert not (tmp_path / "run" / BEST_MODEL).exists()


def test_weights_to_start_from_must_be_there(tiny_scenes: Path, tmp_path: Path, refused) -> None:
    options = [*arguments(tmp_path / "run", tiny_scenes), "--initial"]
    assert "nowhere.keras" in refused("train", *options, str(tmp_path / "nowhere.keras"))


@pytest.mark.extended
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "2"], "--seed was 1, now 2"),
        (["--losses.stein", "0.5"], f"--losses.stein was {LossConfig().stein}, now 0.5"),
        (["--config", SCENE_SETS[0]], f'--config was ["{SCENE_SETS[0]}", "{SCENE_SETS[1]}"], now ["{SCENE_SETS[0]}"]'),
    ],
)
def test_a_run_of_other_options_is_neither_resumed_nor_rewritten(
    runs, tiny_scenes: Path, refused, options: list[str], message: str
) -> None:
    folder, _ = runs["undisturbed"]
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert message in refused("train", *arguments(folder, tiny_scenes), *options)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.extended
def test_a_run_of_another_shape_is_not_resumed(runs, tiny_scenes: Path, refused) -> None:
    folder, _ = runs["undisturbed"]
    before = (folder / BEST_MODEL).read_bytes()
    said = refused("train", *arguments(folder, tiny_scenes), "--backbone.width", "5")
    assert said
    assert (folder / BEST_MODEL).read_bytes() == before
