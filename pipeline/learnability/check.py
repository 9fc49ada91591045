"""The verdict on a training: its backbone at the findings' objective on validation scenes that chose nothing in it.

Against what the training started from, the untrained backbone, uniform guesses, silence and sequential maximum
likelihood. The record names the model it is about by its hash.
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
class Judged:
    """What there is to judge.

    model, start: files of the backbone as it is and as its training began. started_from: hash of the weights that were
    given, or `UNTRAINED`. trained_on: scenes. chosen_on: validation scenes, the first ones, that chose anything in it.
    """

    model: Path
    start: Path
    started_from: str
    trained_on: int
    chosen_on: int


def training_scenes(run_dir: Path) -> int:
    """Scenes a run was trained on so far, repeats counted: read from its checkpoint, which counts them.

    Raises:
      FileNotFoundError: the folder holds no training.
    """
    latest = tf.train.latest_checkpoint(str(run_dir / "checkpoints"))
    if latest is None:
        raise FileNotFoundError(
            f"no checkpoint in {run_dir / 'checkpoints'}: train with python -m pipeline.train first"
        )
    return int(tf.train.load_checkpoint(latest).get_tensor("scenes_seen/.ATTRIBUTES/VARIABLE_VALUE"))


def find_judged(options: LearnabilityOptions) -> Judged:
    """Finds the training's files and checks that they belong together.

    Raises:
      FileNotFoundError: the folder holds no training.
      ValueError: the training is not finished, or --backbone does not come from it.
    """
    trained_on = training_scenes(options.run_dir)
    trained = options.run_dir / BEST_MODEL
    training = origin(trained)
    if training is None:
        raise ValueError(f"--run-dir: expected a finished training, got one still under way or harmed in {trained}")
    model = options.backbone or trained
    made = origin(model)
    if made is None or (model != trained and output_digest(trained) not in made["fingerprint"]["inputs"].values()):
        raise ValueError(f"--backbone: expected {trained} or one whose score was fitted on it, got {model}")
    return Judged(
        model,
        options.run_dir / START_MODEL,
        training["facts"]["started_from"],
        trained_on,
        max(found["facts"]["chosen_on"] for found in (training, made)),
    )


def judge(evaluations: Mapping[str, Evaluation], trained_on: int, options: LearnabilityOptions) -> tuple[str, str]:
    """PASS or FAIL, and the reason.

    Args:
      evaluations: by name, of the same scenes: "trained", "start", "untrained", "chance", "silence" and others.
      trained_on: training scenes.
      options: what is asked for.
    """
    if trained_on < options.min_training_scenes:
        return "FAIL", f"trained on {trained_on} scenes, {options.min_training_scenes} are asked for"
    gains = []
    for name in ("silence", "chance", "untrained", "start"):
        difference = compare(evaluations["trained"], evaluations[name])["objective"]
        shown = f"{difference.difference:+.3f} [{difference.interval[0]:+.3f}, {difference.interval[1]:+.3f}]"
        if not difference.interval[1] < 0:
            return "FAIL", f"objective against {name}: {shown}, no gain beyond the noise"
        gains.append(f"{name} {shown}")
    return "PASS", "objective against " + ", ".join(gains)


def expected_fingerprint(options: LearnabilityOptions) -> Fingerprint:
    """What decides the verdict."""
    inputs = scenes_inputs(options.data_dir, [options.config])
    model = options.backbone or options.run_dir / BEST_MODEL
    inputs["the model"] = Input(output_digest(model), model)
    return fingerprint("learnability", options, inputs, left_out=("run_dir", "data_dir", "backbone"))


def standing_verdict(options: LearnabilityOptions) -> dict[str, Any] | None:
    """The verdict that lies there, if it is on this model, these scenes and with these options."""
    try:
        found: dict[str, Any] = json.loads((options.run_dir / VERDICT_FILE).read_text(encoding="utf-8"))
        return found if difference(found["fingerprint"], expected_fingerprint(options)) is None else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check(options: LearnabilityOptions, logger: logging.Logger) -> dict[str, Any]:
    """Scores all estimators on the same scenes and writes the verdict.

    Raises:
      ValueError, OSError: no training, or no scenes.
    """
    judged = find_judged(options)
    first, size = judged.chosen_on, scene_set(options.config).sizes["validation"]
    if first + options.scenes > size:
        raise ValueError(
            f"--scenes: expected at most {size - first}, as {first} of the {size} validation scenes chose this model, "
            f"got {options.scenes}"
        )
    scenario = scene_set(options.config).config.scenario
    trained, start = (moved_to(load_weights(path), scenario) for path in (judged.model, judged.start))
    estimators: dict[str, Estimator] = {
        **weights_estimators(
            LocalizerConfig(coherence=options.coherence),
            options.effort,
            trained=trained,
            start=start,
            untrained=untrained(trained),
        ),
        "sequential_ml": sequential_ml_localizer(scenario),
        "chance": chance_estimator(scenario),
        "silence": silence_estimator,
    }
    evaluations = {}
    for name, estimator in estimators.items():
        batches = load_scenes(options.data_dir, options.config, "validation", take=first + options.scenes)
        predictions = run_estimator(estimator, batches.skip(first).batch(20), options.scenes)
        evaluations[name] = evaluate_predictions(predictions, metrics_config(scenario))
    verdict, reason = judge(evaluations, judged.trained_on, options)
    figures = {name: compute_metrics(evaluation) for name, evaluation in evaluations.items()}
    scores = {
        name: {"objective": found["objective"], "f1": found["standard"]["f1"], "rmse_xyz_m": found["rmse_xyz_m"]}
        for name, found in figures.items()
    }
    for name, score in scores.items():
        logger.info(f"{name:14} objective {score['objective']:7.3f}  F1 {score['f1']:.3f}")
    logger.info(f"{verdict}: {reason}")
    record = {
        "fingerprint": expected_fingerprint(options),
        "verdict": verdict,
        "reason": reason,
        "model": output_digest(judged.model),
        "started_from": judged.started_from,
        "training_scenes": judged.trained_on,
        "validation_scenes": [first, first + options.scenes],
        "scores": scores,
        "options": options,
    }
    write_json(options.run_dir / VERDICT_FILE, record)
    return record
