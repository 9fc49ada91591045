"""`python -m pipeline.refine` on tiny sets: behind the verdict, killed and resumed, kept, drawn, exported, used."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.artifacts import load_refiner, load_weights
from models.config import LocalizerConfig, LossConfig
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import GridConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.localizer import Localizer
from models.localizer_weights import LocalizerWeights
from models.multipath.config import MultipathConfig
from models.physics.geometry import FieldOfView, RISArray, Scenario
from models.spectrum.config import RefinerConfig
from models.spectrum.refiner import SpectrumRefiner
from models.spectrum_localizer import spectrum_localizer
from pipeline.common.digests import content_digest
from pipeline.evaluate import __main__ as evaluate
from pipeline.evaluate.options import EvaluateOptions
from pipeline.export.exporting import export_localizer
from pipeline.fitting.backbone_training import BackboneTraining
from pipeline.fitting.heat_map_targets import refiner_target
from pipeline.fitting.validation import validate
from pipeline.metrics.estimators import saved_model_estimator
from pipeline.refine import __main__ as refine
from pipeline.refine import training as train_refiner
from pipeline.refine.options import RefineOptions
from pipeline.refine.refiner_training import RefinerTraining
from pipeline.release.versions import read_meta_graph
from serving.client.sources import scenes_of
from tests.conftest import SCENE_SETS, TINY
from tests.forked import Forked
from tests.rigs.killed_at import killed_stage
from tests.simulated import batch_of, inputs_of, loud

GRID = GridConfig(11, 13, 5)  # of which the spectrum's grid is a multiple
SMALL = dataclasses.replace(TINY, grid=GRID)
BLIND = LocalizerConfig(multipath=MultipathConfig(rounds=0))
"""For reflections."""
EPOCHS = 2


@pytest.fixture(scope="module")
def backbone_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backbone") / "backbone.keras"
    LocalizerWeights(Backbone(Scenario(), SMALL)).save(path)
    return path


def arguments(run_dir: Path, data_dir: Path, backbone: Path) -> list[str]:
    return [
        *("--run-dir", str(run_dir), "--data-dir", str(data_dir), "--config", *SCENE_SETS),
        *("--backbone", str(backbone), "--epochs", str(EPOCHS), "--steps-per-epoch", "2", "--batch-size", "4"),
        *("--validation-scenes", "8", "--refiner.width", "4", "--refiner.depth", "2", "--multipath.rounds", "0"),
    ]


def verdict(path: Path, config: str, model: Path) -> Path:
    """A PASS on a model."""
    record = {
        "verdict": "PASS",
        "reason": "as measured",
        "options": {"config": config},
        "model": content_digest(model),
        "started_from": "untrained",
    }
    path.write_text(json.dumps(record))
    return path


# Targets and losses


def test_targets_are_one_at_the_sources_and_lead_to_them() -> None:
    dictionary = PolarDictionary(RISArray(), FieldOfView(), GRID)
    batch = batch_of(5)
    target = refiner_target({name: tf.constant(value) for name, value in batch.items()}, dictionary)
    places, cells = dictionary.places().numpy().astype(float), dictionary.cell_size()
    for scene, number in enumerate(batch["num_sources"]):
        sources = np.stack(
            [np.sin(batch["azimuth"][scene]), np.sin(batch["elevation"][scene]), 1 / batch["range_m"][scene].clip(0.1)],
            -1,
        )[:number]
        away = (sources[:, None] - places) / cells
        distance = np.linalg.norm(away, axis=-1)
        nearest = np.argmin(distance, axis=1)
        expected = np.exp(-0.5 * (distance / 0.7) ** 2).max(axis=0)
        expected[nearest] = 1.0
        np.testing.assert_allclose(target.presence[scene], expected, atol=1e-4)
        led_to = places[nearest] + target.offset.numpy()[scene, nearest] * cells
        np.testing.assert_allclose(led_to, sources[np.argmin(distance[:, nearest], axis=0)], atol=1e-5)


@pytest.mark.extended
@pytest.mark.parametrize("joint", [False, True])
def test_training_finds_what_it_is_shown(joint: bool) -> None:
    """A few loud scenes again and again: the loss falls, and with `joint` the grid stages move too."""
    keras.utils.set_random_seed(1)  # else the weights it starts from follow the tests before, and some are slow
    batch = {name: tf.constant(value) for name, value in batch_of(4, loud(2)).items()}
    backbone = Backbone(Scenario(max_sources=2), SMALL)
    localizer = Localizer(backbone, BLIND, SpectrumRefiner(RefinerConfig(width=16, depth=3)))
    model = RefinerTraining(localizer, 1.0, BackboneTraining(backbone, LossConfig()) if joint else None)
    model.compile(optimizer="adam", jit_compile=False)
    model.optimizer.learning_rate = 0.003
    before = [variable.numpy() for variable in backbone.grid_variables]
    step = tf.function(model.train_step, autograph=False)
    model.optimizer.build(model.learned_variables)
    losses = []
    for _ in range(80):
        model.reset_metrics()
        losses.append({name: float(value) for name, value in step(batch).items()})
    for name, share in (("presence", 0.2), ("offset", 0.5)):
        assert min(one[name] for one in losses[-10:]) < share * losses[0][name]
    for one in losses:
        assert one["loss"] == pytest.approx(sum(value for name, value in one.items() if name != "loss"), rel=1e-5)
    moved = [not np.array_equal(one, variable) for one, variable in zip(before, backbone.grid_variables, strict=True)]
    assert any(moved) == joint


def test_the_heat_map_teaches_the_grid_stages() -> None:
    """With `joint` the loss of presence alone moves them, not only their own losses."""
    batch = {name: tf.constant(value) for name, value in batch_of(2, loud(2)).items()}
    backbone = Backbone(Scenario(max_sources=2), SMALL)
    refiner = SpectrumRefiner(RefinerConfig(width=4, depth=2))
    refiner.presence.kernel.assign(tf.random.stateless_normal(refiner.presence.kernel.shape, seed=(1, 2)))
    model = RefinerTraining(Localizer(backbone, BLIND, refiner), 1.0)
    with tf.GradientTape() as tape:
        presence = model.batch_losses(batch)["presence"]
    gradients = tape.gradient(presence, backbone.grid_variables[-2:])  # the others pass the readout, which is zero
    assert all(np.abs(gradient).max() > 1e-8 for gradient in gradients)


@pytest.mark.extended
def test_the_level_chosen_is_the_best_of_those_tried(tiny_scenes: Path, backbone_path: Path, tmp_path: Path) -> None:
    """Each judged as it would run, guard rails included."""
    options = RefineOptions(
        tmp_path,
        data_dir=tiny_scenes,
        config=SCENE_SETS,
        backbone=backbone_path,
        validation_scenes=8,
        batch_size=2,
        multipath=BLIND.multipath,
    )
    localizer, _ = train_refiner.prepare(options)
    refiner = localizer.refiner
    refiner.presence.kernel.assign(2.0 * tf.random.stateless_normal(refiner.presence.kernel.shape, seed=(3, 4)))
    validation = train_refiner.Validation(localizer, options)
    validation()
    chosen, locate = float(refiner.min_presence), spectrum_localizer(localizer)

    def f1(level: float) -> float:
        refiner.min_presence.assign(level)
        held_out = (localizer.scenario, tiny_scenes, SCENE_SETS, 8)
        return np.mean([one["standard"]["f1"] for one in validate(locate, *held_out).values()])

    tried = [f1(level) for level in (0.1, 0.3, 0.5, 0.8, chosen)]
    assert tried[-1] == max(tried)


# The stage


@pytest.fixture(scope="module")
def run(tiny_scenes: Path, backbone_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that was killed after its first epoch's checkpoint, and run again: its folder and what it said."""
    folder = tmp_path_factory.mktemp("refine")
    learnability = verdict(folder / "learnability.json", SCENE_SETS[1], backbone_path)
    options = [*arguments(folder / "run", tiny_scenes, backbone_path), "--learnability", str(learnability)]
    killed_stage("pipeline.fitting.loop:TrainingLoop.end_epoch", 2, "refine", *options)  # the start is scored, too
    again = Forked("pipeline.refine", *options)
    stdout, stderr = again.communicate()
    assert again.returncode == 0, stderr
    return folder / "run", stdout


@pytest.mark.extended
def test_a_killed_run_goes_on(run) -> None:
    folder, said = run
    assert re.search(r"resumed after epoch 1 from ", said)
    assert f"epoch {EPOCHS}/{EPOCHS}  " in said
    assert tf.train.latest_checkpoint(str(folder / "checkpoints")).endswith(f"ckpt-{EPOCHS}")


@pytest.mark.extended
def test_it_leaves_the_refiner_with_its_backbone_and_pictures(run, backbone_path: Path) -> None:
    folder, _ = run
    assert 0.05 < float(load_refiner(folder / "refiner.keras").min_presence) < 0.95
    kept, given = load_weights(folder / "backbone.keras"), load_weights(backbone_path)
    assert kept.backbone.config == given.backbone.config
    for one, other in zip(kept.get_weights(), given.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)  # the backbone is frozen
    assert (folder / "figures" / "spectra.png").read_bytes().startswith(b"\x89PNG")
    tags = {
        value.tag
        for path in (folder / "tensorboard").iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert {"spectra", "presence", "offset", "loss", "val_objective", "val_f1"} <= tags


@pytest.mark.extended
def test_a_run_of_other_options_is_neither_resumed_nor_rewritten(
    run, tiny_scenes: Path, backbone_path: Path, refused
) -> None:
    folder, _ = run
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    said = refused("refine", *arguments(folder, tiny_scenes, backbone_path), "--seed", "2")
    assert "--seed was 1, now 2" in said
    assert {path: path.read_bytes() for path in before} == before


def test_without_a_verdict_it_refuses(tiny_scenes: Path, backbone_path: Path, tmp_path: Path, refused) -> None:
    said = refused("refine", *arguments(tmp_path / "run", tiny_scenes, backbone_path))
    assert re.match(r"--learnability: expected .*, got none: run .*, or --force", said)
    assert not (tmp_path / "run" / "refiner.keras").exists()


def test_a_verdict_on_another_model_does_not_open_it(
    tiny_scenes: Path, backbone_path: Path, tmp_path: Path, refused
) -> None:
    """One PASS opened the gate for any model once."""
    other = tmp_path / "other.keras"
    LocalizerWeights(Backbone(Scenario(), TINY)).save(other)
    passed = verdict(tmp_path / "learnability.json", SCENE_SETS[1], other)
    said = refused("refine", *arguments(tmp_path / "run", tiny_scenes, backbone_path), "--learnability", passed)
    assert re.search(r"is about .* \([0-9a-f]{12}\), got one about [0-9a-f]{12}, trained from untr", said)
    assert not (tmp_path / "run" / "manifest.json").exists()


@pytest.mark.stage("refine")
@pytest.mark.promise("refiner")
def test_joint_and_grid_only_change_the_backbone_it_keeps(
    tiny_scenes: Path, backbone_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with --force it needs no verdict."""
    options = [
        "--force",
        "--joint",
        "--grid-only",
        "--refiner.no-keep-peaks",
        "--epochs",
        "1",
        "--learning-rate",
        "0.01",
    ]
    monkeypatch.setattr(sys, "argv", ["refine", *arguments(tmp_path / "run", tiny_scenes, backbone_path), *options])
    tf.config.run_functions_eagerly(True)  # tracing takes most of the time
    try:
        refine.main()
    finally:
        tf.config.run_functions_eagerly(False)
    kept = load_weights(tmp_path / "run" / "backbone.keras").backbone
    assert (kept.config.refinement.steps, kept.config.refinement.additions) == (0, 0)
    end = tf.train.load_checkpoint(str(tmp_path / "run" / "checkpoints"))
    names = [name for name in end.get_variable_to_shape_map() if name.startswith("weights/")]
    refiner = load_refiner(tmp_path / "run" / "refiner.keras")
    assert not refiner.config.keep_peaks
    assert len(names) == len(refiner.trainable_variables) + len(kept.learned_variables)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--offset-weight", "-1"),
        ("--epochs", "0"),
        ("--refiner.depth", "1"),
        ("--backbone", "none"),
        ("--grid-only", None),
    ],
)
def test_options_that_are_refused(
    option: str,
    value: str | None,
    tiny_scenes: Path,
    backbone_path: Path,
    tmp_path: Path,
    refused,
) -> None:
    given = [*arguments(tmp_path, tiny_scenes, backbone_path), "--force", option, *([value] if value else [])]
    assert refused("refine", *given)


# What becomes of the refiner


@pytest.mark.extended
def test_the_exported_switch(backbone_path: Path, tiny_model: Path, tmp_path: Path) -> None:
    """With it the answer says which path a scene took; without it there is no trace of one."""
    weights, scenes = load_weights(backbone_path), inputs_of(batch_of(3))
    refiner = SpectrumRefiner(RefinerConfig(width=4, depth=2))
    with_refiner = export_localizer(Localizer(weights, BLIND, refiner), tmp_path / "with", ())
    (without,) = tiny_model.iterdir()
    answers = {path: saved_model_estimator(path)(scenes) for path in (with_refiner, without)}
    refined = answers[with_refiner].pop("refined")
    assert refined.dtype == tf.bool
    assert refined.shape == (3,)
    assert answers[with_refiner].keys() == answers[without].keys()
    graphs = {path: read_meta_graph(path) for path in (with_refiner, without)}
    outputs = {path: graph.signature_def["serving_default"].outputs for path, graph in graphs.items()}
    assert "refined" in outputs[with_refiner]
    assert "refined" not in outputs[without]
    functions = {path: graph.graph_def.library.function for path, graph in graphs.items()}
    convolutions = {
        path: [node for f in functions[path] for node in f.node_def if node.op == "Conv3D"] for path in graphs
    }
    assert len(convolutions[with_refiner]) > len(convolutions[without])
    plain = {
        path: {name: np.asarray(value) for name, value in answers[path].items()} for path in (with_refiner, without)
    }
    entries = scenes_of(plain[with_refiner] | {"refined": refined.numpy()}, model_version=1)
    assert [entry["refined"] for entry in entries] == refined.numpy().tolist()
    assert all("refined" not in entry for entry in scenes_of(plain[without], model_version=1))


@pytest.mark.extended
def test_evaluation_reads_sources_off_the_heat_map(
    run, tiny_scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = run
    options = ["--spectrum-of", str(folder / "backbone.keras"), "--refiner", str(folder / "refiner.keras")]
    options += ["--config", SCENE_SETS[0], "--data-dir", str(tiny_scenes), "--scenes", "8", "--no-figures"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *options, "--output-dir", str(tmp_path)])
    evaluate.main()
    assert "refined by" in json.loads((tmp_path / "metrics.json").read_text())["estimator"]


def test_evaluation_refuses_a_refiner_that_nothing_would_use(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--refiner: needs --spectrum-of, got r\.keras without it"):
        EvaluateOptions(tmp_path, chance=True, refiner=Path("r.keras"))
