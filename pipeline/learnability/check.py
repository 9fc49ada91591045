"""The verdict on a training: compares the objective of its backbone with baselines on unused validation scenes.

The baselines are the start of the training, the untrained backbone, uniform guesses, an estimator that reports nothing,
and sequential maximum likelihood. The scenes did not choose an epoch or stop a fit. The record names the model by its
hash.
"""

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from models.artifacts import load_weights, moved_to, untrained
from models.baselines.sequential_ml import sequential_ml_localizer
from models.config import LocalizerConfig
from pipeline.common.artifacts import Fingerprint, Input, difference, fingerprint, origin, output_digest
from pipeline.common.records import write_json
from pipeline.common.verdict import UNTRAINED
from pipeline.learnability.options import VERDICT_FILE, LearnabilityOptions
from pipeline.metrics.comparison import compare
from pipeline.metrics.estimators import Estimator, chance_estimator, silence_estimator, weights_estimators
from pipeline.metrics.evaluation import Evaluation, compute_metrics, metrics_config
from pipeline.metrics.predictions import evaluate_predictions, run_estimator
from pipeline.scenes.identity import scenes_inputs
from pipeline.scenes.reading import load_scenes
from pipeline.train.options import BEST_MODEL, START_MODEL
from tfds_shards.scene_sets import scene_set


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """The training to judge."""

    model: Path
    start: Path
    """File of the backbone before training."""
    started_from: str
    """Hash of the initial weights, or `UNTRAINED`."""
    trained_on: int
    """Training scenes, repeats included."""
    chosen_on: int
    """How many validation scenes, the first ones, chose an epoch or stopped a fit."""


def training_scenes(run_dir: Path) -> int:
    """Training scenes of a run so far, repeats included, read from its last checkpoint."""
    latest = tf.train.latest_checkpoint(str(run_dir / "checkpoints"))
    if latest is None:
        raise FileNotFoundError(
            f"--run-dir: expected a training, got no checkpoint in {run_dir / 'checkpoints'}; run ris-mvdr train first"
        )
    return int(tf.train.load_checkpoint(latest).get_tensor("scenes_seen/.ATTRIBUTES/VARIABLE_VALUE"))


def find_model(options: LearnabilityOptions) -> TrainedModel:
    """Finds the files of the training and checks that they belong together."""
    trained_on = training_scenes(options.run_dir)
    trained = options.run_dir / BEST_MODEL
    training = origin(trained)
    if training is None:
        raise ValueError(f"--run-dir: expected a finished training, got an unfinished or changed one in {trained}")
    model = options.backbone or trained
    made = origin(model)
    if made is None or (model != trained and output_digest(trained) not in made["fingerprint"]["inputs"].values()):
        raise ValueError(f"--backbone: expected {trained} or the output of ris-mvdr confidence for it, got {model}")
    chosen_on = max(found["facts"]["chosen_on"] for found in (training, made))
    return TrainedModel(model, options.run_dir / START_MODEL, training["facts"]["started_from"], trained_on, chosen_on)


def judge(evaluations: Mapping[str, Evaluation], trained_on: int, options: LearnabilityOptions) -> tuple[str, str]:
    """PASS or FAIL, and the reason.

    The evaluations are on the same scenes, by name: "trained", "start", "untrained", "chance", "silence" and others.
    """
    if trained_on < options.min_training_scenes:
        return "FAIL", f"trained on {trained_on} scenes, expected at least {options.min_training_scenes}"
    gains = []
    for name in ("silence", "chance", "untrained", "start"):
        difference = compare(evaluations["trained"], evaluations[name])["objective"]
        shown = f"{difference.difference:+.3f} [{difference.interval[0]:+.3f}, {difference.interval[1]:+.3f}]"
        if not difference.interval[1] < 0:
            return "FAIL", f"objective against {name}: {shown}, not a significant gain"
        gains.append(f"{name} {shown}")
    return "PASS", "objective against " + ", ".join(gains)


def expected_fingerprint(options: LearnabilityOptions) -> Fingerprint:
    """What decides the verdict."""
    inputs = scenes_inputs(options.data_dir, [options.config])
    model = options.backbone or options.run_dir / BEST_MODEL
    inputs["the model"] = Input(output_digest(model), model)
    return fingerprint("learnability", options, inputs, left_out=("run_dir", "data_dir", "backbone"))


def standing_verdict(options: LearnabilityOptions) -> dict[str, Any] | None:
    """The verdict on disk if it has the same fingerprint, else None."""
    try:
        found: dict[str, Any] = json.loads((options.run_dir / VERDICT_FILE).read_text(encoding="utf-8"))
        return found if difference(found["fingerprint"], expected_fingerprint(options)) is None else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check(options: LearnabilityOptions, logger: logging.Logger) -> dict[str, Any]:
    """Scores all estimators on the same scenes, writes the verdict and returns its record."""
    subject = find_model(options)
    first, size = subject.chosen_on, scene_set(options.config).sizes["validation"]
    if first + options.scenes > size:
        raise ValueError(
            f"--scenes: expected at most {size - first}, as {first} of the {size} validation scenes chose this model, "
            f"got {options.scenes}"
        )
    scenario = scene_set(options.config).config.scenario
    trained, start = (moved_to(load_weights(path), scenario) for path in (subject.model, subject.start))
    config, weights = LocalizerConfig(multipath=options.multipath), {"trained": trained, "start": start}
    if subject.started_from != UNTRAINED:
        weights["untrained"] = untrained(trained)
    estimators: dict[str, Estimator] = {
        **weights_estimators(config, options.effort, **weights),
        "sequential_ml": sequential_ml_localizer(scenario),
        "chance": chance_estimator(scenario),
        "silence": silence_estimator,
    }
    evaluations = {}
    for name, estimator in estimators.items():
        batches = load_scenes(options.data_dir, options.config, "validation", take=first + options.scenes)
        predictions = run_estimator(estimator, batches.skip(first).batch(20), options.scenes)
        evaluations[name] = evaluate_predictions(predictions, metrics_config(scenario))
    evaluations.setdefault("untrained", evaluations["start"])
    verdict, reason = judge(evaluations, subject.trained_on, options)
    scores = {}
    for name, evaluation in evaluations.items():
        found = compute_metrics(evaluation)
        objective, f1 = found["objective"], found["standard"]["f1"]
        scores[name] = {"objective": objective, "f1": f1, "rmse_xyz_m": found["rmse_xyz_m"]}
        logger.info(f"{name:14} objective {objective:7.3f}  F1 {f1:.3f}")
    gains = {name: compare(evaluations["trained"], evaluations[name])["f1"] for name in ("untrained", "sequential_ml")}
    for name, gain in gains.items():
        logger.info(f"F1 of trained minus {name}: {gain:+.3f}")
    logger.info(f"{verdict}: {reason}")
    record = {
        "fingerprint": expected_fingerprint(options),
        "verdict": verdict,
        "reason": reason,
        "model": output_digest(subject.model),
        "started_from": subject.started_from,
        "training_scenes": subject.trained_on,
        "validation_scenes": [first, first + options.scenes],
        "scores": scores,
        "f1_gain": {name: [gain.difference, *gain.interval] for name, gain in gains.items()},
        "options": options,
    }
    write_json(options.run_dir / VERDICT_FILE, record)
    return record
