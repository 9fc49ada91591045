"""The verdict on a training: its backbone at the findings' objective on validation scenes, against the untrained one,
uniform guesses, silence and sequential maximum likelihood."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from models.artifacts import load_weights, moved_to, untrained
from models.baselines.sequential_ml import sequential_ml_localizer
from models.localizer import Localizer
from pipeline.common.records import write_json
from pipeline.evaluation.comparison import compare
from pipeline.evaluation.estimators import Estimator, chance_estimator, localizer_estimator, silence_estimator
from pipeline.evaluation.metrics import Evaluation, compute_metrics, metrics_config
from pipeline.evaluation.predictions import evaluate_predictions, run_estimator
from pipeline.learnability import VERDICT_FILE, LearnabilityOptions
from pipeline.scenes.reading import load_scenes
from pipeline.train import BEST_MODEL
from tfds_shards.scene_sets import scene_set


def training_scenes(run_dir: Path) -> int:
    """Scenes a run was trained on so far, repeats counted.

    Raises:
      FileNotFoundError: the folder holds no training.
    """
    options = json.loads((run_dir / "config.json").read_text())["options"]
    latest = tf.train.latest_checkpoint(str(run_dir / "checkpoints"))
    if latest is None:
        raise FileNotFoundError(
            f"no checkpoint in {run_dir / 'checkpoints'}: train with python -m pipeline.train first"
        )
    epochs = int(tf.train.load_checkpoint(latest).get_tensor("epochs_done/.ATTRIBUTES/VARIABLE_VALUE"))
    return epochs * options["steps_per_epoch"] * options["batch_size"]


def judge(evaluations: Mapping[str, Evaluation], trained_on: int, options: LearnabilityOptions) -> tuple[str, str]:
    """PASS or FAIL, and the reason.

    Args:
      evaluations: by name, of the same scenes: "trained", "untrained", "chance", "silence" and others.
      trained_on: training scenes.
      options: what is asked for.
    """
    if trained_on < options.min_training_scenes:
        return "FAIL", f"trained on {trained_on} scenes, {options.min_training_scenes} are asked for"
    gains = []
    for name in ("silence", "chance", "untrained"):
        difference = compare(evaluations["trained"], evaluations[name])["objective"]
        shown = f"{difference.difference:+.3f} [{difference.interval[0]:+.3f}, {difference.interval[1]:+.3f}]"
        if not difference.interval[1] < 0:
            return "FAIL", f"objective against {name}: {shown}, no gain beyond the noise"
        gains.append(f"{name} {shown}")
    return "PASS", "objective against " + ", ".join(gains)


def check(options: LearnabilityOptions, logger: logging.Logger) -> dict[str, Any]:
    """Scores all estimators on the same scenes and writes the verdict.

    Raises:
      ValueError, OSError: no training, or no scenes.
    """
    trained_on = training_scenes(options.run_dir)
    scenario = scene_set(options.config).config.scenario
    trained = moved_to(load_weights(options.backbone or options.run_dir / BEST_MODEL), scenario)
    estimators: dict[str, Estimator] = {
        "trained": localizer_estimator(Localizer(trained)),
        "untrained": localizer_estimator(Localizer(untrained(trained))),
        "sequential_ml": sequential_ml_localizer(scenario),
        "chance": chance_estimator(scenario),
        "silence": silence_estimator,
    }
    evaluations = {}
    for name, estimator in estimators.items():
        wanted = options.skip_scenes + options.scenes
        batches = load_scenes(options.data_dir, options.config, "validation", take=wanted, batch_size=None)
        batches = batches.skip(options.skip_scenes).batch(20)
        predictions = run_estimator(estimator, batches, options.scenes)
        evaluations[name] = evaluate_predictions(predictions, metrics_config(scenario))
    verdict, reason = judge(evaluations, trained_on, options)
    figures = {name: compute_metrics(evaluation) for name, evaluation in evaluations.items()}
    scores = {
        name: {"objective": found["objective"], "f1": found["standard"]["f1"], "rmse_xyz_m": found["rmse_xyz_m"]}
        for name, found in figures.items()
    }
    for name, score in scores.items():
        logger.info(f"{name:14} objective {score['objective']:7.3f}  F1 {score['f1']:.3f}")
    logger.info(f"{verdict}: {reason}")
    record = {"verdict": verdict, "reason": reason, "training_scenes": trained_on, "scores": scores, "options": options}
    write_json(options.run_dir / VERDICT_FILE, record)
    return record
