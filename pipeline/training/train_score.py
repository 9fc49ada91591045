"""Fits the correction of the score (models/decision/scoring.py).

The localizer runs over training scenes, what it finds is matched with the truth, and the correction learns by
cross-entropy to tell hits from the rest.
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from models.artifacts import load_weights, moved_to
from models.decision.scoring import NUM_FEATURES, ScoreCorrection, score_logit
from models.localizer import Localizer
from models.localizer_weights import LocalizerWeights
from models.physics.geometry import Scenario
from pipeline.common.artifacts import Fingerprint, chosen_on, fingerprint, making
from pipeline.common.records import replacing, write_json
from pipeline.common.verdict import starting_point
from pipeline.evaluation.estimators import INPUTS, Estimator, localizer_estimator
from pipeline.evaluation.matching import found_sources, match_sources, true_sources
from pipeline.evaluation.metrics import metrics_config
from pipeline.evaluation.predictions import run_estimator
from pipeline.scenes.identity import scenes_inputs
from pipeline.scenes.reading import load_scenes
from pipeline.score import ScoreOptions
from pipeline.train import BEST_MODEL
from pipeline.training.fitting import validate
from tfds_shards.scene_sets import scene_set

_HOPELESS_SCORE = 0.02  # candidates below are no one's idea of a source and would only take matches away
_BATCH_SCENES = 40


class LabelledPeaks(NamedTuple):
    """LabelledPeaks of many scenes: features [n, NUM_FEATURES], score without correction [n], hit [n]; all float32."""

    features: np.ndarray
    score: np.ndarray
    hit: np.ndarray


def proposer(localizer: Localizer) -> Estimator:
    """Everything that a localizer finds, down to hopeless scores, with what its scores are made of."""

    def propose(snapshots: tf.Tensor, ris_codes: tf.Tensor, channel: tf.Tensor, snr_db: tf.Tensor):
        candidates = localizer.candidates(localizer.observe(snapshots, ris_codes, channel, snr_db), snr_db)
        return localizer.report(candidates, _HOPELESS_SCORE, with_features=True)

    step = tf.function(propose, list(localizer.input_specs().values()), autograph=False)
    return lambda scenes: step(**{name: scenes[name] for name in INPUTS})


def collect(
    propose: Estimator, scenario: Scenario, batches: Iterable[Mapping[str, Any]], num_scenes: int
) -> LabelledPeaks:
    """What a localizer finds in scenes with a truth.

    Args:
      propose: its `proposer`; its correction must still be zero, so that its scores are those the correction is added
        to.
      scenario: the installation.
      batches: of scenes with their truth.
      num_scenes: how many scenes they hold.
    """
    found = run_estimator(propose, batches, num_scenes)
    table = match_sources(true_sources(found.truth), found_sources(found.outputs))
    rows = table.is_found
    features = found.outputs["score_features"][table.scene[rows], table.found_slot[rows]]
    hit = table.hits(metrics_config(scenario).standard_gate)[rows]
    return LabelledPeaks(*(x.astype(np.float32) for x in (features, table.score[rows], hit)))


def _joined(parts: list[LabelledPeaks]) -> LabelledPeaks:
    return LabelledPeaks(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def fit(
    correction: ScoreCorrection, training: LabelledPeaks, validation: LabelledPeaks, options: ScoreOptions
) -> float:
    """Fits the correction in place and keeps the epoch that validates best; its cross-entropy there, nats each."""
    features, logit = keras.Input([NUM_FEATURES]), keras.Input([])
    model = keras.Model([features, logit], logit + correction(features))
    steps = math.ceil(len(training.hit) / options.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(options.learning_rate, options.epochs * steps)
    model.compile(keras.optimizers.Adam(schedule), keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=20, restore_best_weights=True)
    inputs = [[part.features, score_logit(part.score)] for part in (training, validation)]
    history = model.fit(
        inputs[0],
        training.hit,
        validation_data=(inputs[1], validation.hit),
        epochs=options.epochs,
        batch_size=options.batch_size,
        callbacks=[stop],
        verbose=0,
    )
    return min(history.history["val_loss"])


def cross_entropy(candidates: LabelledPeaks) -> float:
    """Of the scores without a correction, nats a candidate."""
    logit = score_logit(tf.constant(candidates.score))
    return float(tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(candidates.hit, logit)))


def _localizers(weights: LocalizerWeights, configs: Sequence[str]) -> dict[str, Localizer]:
    """By set, one an installation: what a score says holds for all of them, and one correction is fitted."""
    scenarios = {config: scene_set(config).config.scenario for config in configs}
    of_scenario = {scenario: Localizer(moved_to(weights, scenario)) for scenario in dict.fromkeys(scenarios.values())}
    return {config: of_scenario[scenario] for config, scenario in scenarios.items()}


def _validated(localizers: Mapping[str, Localizer], options: ScoreOptions) -> dict[str, dict[str, Any]]:
    """Metrics of every set with the weights as they are."""
    found: dict[str, dict[str, Any]] = {}
    for config, localizer in localizers.items():
        localize = localizer_estimator(localizer)
        held_out = (options.data_dir, [config], options.validation_scenes)
        found |= validate(localize, localizer.scenario, *held_out)
    return found


def asked(options: ScoreOptions) -> Fingerprint:
    """What decides the fit.

    Raises:
      FileNotFoundError, ValueError: scenes or weights that are not there.
    """
    scenes = scenes_inputs(options.data_dir, options.config)
    return fingerprint("pipeline.score", options, scenes, left_out=("run_dir", "data_dir"))


def teach(options: ScoreOptions, logger: logging.Logger) -> None:
    """Collects, fits, validates, saves; leaves a finished run alone.

    Raises:
      Differs: the folder holds a run of other options, scenes, weights or code.
    """
    with making(options.run_dir, asked(options), logger, leftovers=("checkpoints", BEST_MODEL)) as run:
        if run.state == "done":
            return
        run.begin(options)
        _teach(options, logger)
        run.facts |= {
            "started_from": starting_point(options.backbone),
            "chosen_on": max(options.validation_scenes, chosen_on(options.backbone)),
        }
        run.finish(BEST_MODEL, "metrics.json")


def _teach(options: ScoreOptions, logger: logging.Logger) -> None:
    keras.utils.set_random_seed(options.seed)
    weights = load_weights(options.backbone)
    correction = weights.score_correction
    fresh = ScoreCorrection(correction.width)
    fresh.build((None, NUM_FEATURES))
    correction.set_weights(fresh.get_weights())
    localizers = _localizers(weights, options.config)
    proposers = {localizer: proposer(localizer) for localizer in localizers.values()}

    def candidates(split: str, take: int) -> LabelledPeaks:
        parts = []
        for config in options.config:
            batches = load_scenes(options.data_dir, config, split, take=take, batch_size=_BATCH_SCENES)
            localizer = localizers[config]
            parts.append(collect(proposers[localizer], localizer.scenario, batches, take))
            share = float(parts[-1].hit.mean())
            logger.info(f"{config} {split}: {take} scenes, {len(parts[-1].hit)} candidates, {share:.3f} of them hits")
        return _joined(parts)

    training, validation = candidates("train", options.scenes), candidates("validation", options.validation_scenes)
    before = _validated(localizers, options)
    fitted = fit(correction, training, validation, options)
    unfitted = cross_entropy(validation)
    logger.info(f"cross-entropy on validation: {unfitted:.4f} before, {fitted:.4f} after")
    if not fitted < unfitted:
        correction.set_weights(fresh.get_weights())
        logger.info("the fit gained nothing: scores stay without a correction; more --scenes may help")
    for localizer in localizers.values():
        localizer.weights.score_correction.set_weights(correction.get_weights())
    after = _validated(localizers, options)
    for config in options.config:
        for name, metrics in (("before", before[config]), ("after", after[config])):
            calibration = metrics["calibration"]["expected_calibration_error"]
            logger.info(
                f"{config} {name:6}: F1 {metrics['standard']['f1']:.4f}  objective {metrics['objective']:.3f}  "
                f"calibration error {calibration:.3f}"
            )
    with replacing(options.run_dir / BEST_MODEL) as temporary:
        weights.save(temporary)
    write_json(options.run_dir / "metrics.json", {"before": before, "after": after})
    logger.info(f"the weights with their score: {options.run_dir / BEST_MODEL}")
