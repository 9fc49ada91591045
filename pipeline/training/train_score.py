"""Fits the correction of the score (models/decision/scoring.py).

The localizer runs over training scenes, what it finds is matched with the truth, and the correction learns by
cross-entropy to tell hits from the rest.
"""

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from models.artifacts import load_weights, moved_to
from models.config import LocalizerConfig
from models.decision.scoring import NUM_FEATURES, ScoreCorrection, score_logit
from models.localizer import Localizer
from models.localizer_weights import LocalizerWeights
from pipeline.common.artifacts import Fingerprint, chosen_on, fingerprint, making
from pipeline.common.records import replacing, write_json
from pipeline.common.verdict import starting_point
from pipeline.evaluation.estimators import INPUTS
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
    """What was found in many scenes: features [n, NUM_FEATURES], score without correction [n], hit [n]; all float32."""

    features: np.ndarray
    score: np.ndarray
    hit: np.ndarray


class Taught:
    """A localizer whose score is taught, as two estimators that share a graph, its weights as they are at each call."""

    def __init__(self, localizer: Localizer) -> None:
        self.localizer = localizer
        self._graph = tf.function(self._reports, list(localizer.input_specs().values()), autograph=False)

    def _reports(
        self, snapshots: tf.Tensor, ris_codes: tf.Tensor, channel: tf.Tensor, snr_db: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        localizer = self.localizer
        candidates = localizer.candidates(localizer.observe(snapshots, ris_codes, channel, snr_db), snr_db)
        reported = localizer.report(candidates, localizer.config.decision.min_score)
        return reported, localizer.report(candidates, _HOPELESS_SCORE, with_features=True)

    def localize(self, scenes: Mapping[str, Any]) -> Mapping[str, Any]:
        """What it reports."""
        return self._graph(*(scenes[name] for name in INPUTS))[0]

    def propose(self, scenes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Everything that it finds, down to hopeless scores, with what its scores are made of."""
        return self._graph(*(scenes[name] for name in INPUTS))[1]


def collect(taught: Taught, batches: Iterable[Mapping[str, Any]], num_scenes: int) -> LabelledPeaks:
    """What a localizer finds in scenes with a truth.

    Args:
      taught: its correction must still be zero, so that its scores are those the correction is added to.
      batches: of scenes with their truth.
      num_scenes: how many scenes they hold.
    """
    found = run_estimator(taught.propose, batches, num_scenes)
    table = match_sources(true_sources(found.truth), found_sources(found.outputs))
    rows = table.is_found
    features = found.outputs["score_features"][table.scene[rows], table.found_slot[rows]]
    hit = table.hits(metrics_config(taught.localizer.scenario).standard_gate)[rows]
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


def _by_set(weights: LocalizerWeights, options: ScoreOptions) -> dict[str, Taught]:
    """By set, one an installation: what a score says holds for all of them, and one correction is fitted."""
    scenarios = {config: scene_set(config).config.scenario for config in options.config}
    config = LocalizerConfig(coherence=options.coherence)
    of_scenario = {
        scenario: Taught(Localizer(moved_to(weights, scenario), config))
        for scenario in dict.fromkeys(scenarios.values())
    }
    return {config: of_scenario[scenario] for config, scenario in scenarios.items()}


def _validated(taught: Mapping[str, Taught], options: ScoreOptions) -> dict[str, dict[str, Any]]:
    """Metrics of every set with the weights as they are."""
    found: dict[str, dict[str, Any]] = {}
    for config, one in taught.items():
        held_out = (options.data_dir, [config], options.validation_scenes)
        found |= validate(one.localize, one.localizer.scenario, *held_out)
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
    taught = _by_set(weights, options)

    def candidates(split: str, take: int) -> LabelledPeaks:
        parts = []
        for config in options.config:
            batches = load_scenes(options.data_dir, config, split, take=take, batch_size=_BATCH_SCENES)
            parts.append(collect(taught[config], batches, take))
            share = float(parts[-1].hit.mean())
            logger.info(f"{config} {split}: {take} scenes, {len(parts[-1].hit)} candidates, {share:.3f} of them hits")
        return _joined(parts)

    training, validation = candidates("train", options.scenes), candidates("validation", options.validation_scenes)
    before = _validated(taught, options)
    fitted = fit(correction, training, validation, options)
    unfitted = cross_entropy(validation)
    logger.info(f"cross-entropy on validation: {unfitted:.4f} before, {fitted:.4f} after")
    if not fitted < unfitted:
        correction.set_weights(fresh.get_weights())
        logger.info("the fit gained nothing: scores stay without a correction; more --scenes may help")
    for one in taught.values():
        one.localizer.weights.score_correction.set_weights(correction.get_weights())
    after = _validated(taught, options)
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
