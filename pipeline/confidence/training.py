"""Fits the correction of scores and covariances (models/decision/scoring.py).

The localizer runs over training scenes, what it finds is matched with the truth, and the correction learns by
cross-entropy to tell hits from the rest, and by the likelihood of the hits' errors how large these are.
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
from models.decision.decision import angle_slopes
from models.decision.scoring import NUM_FEATURES, ScoreCorrection, score_logit
from models.localizer import Localizer
from models.localizer_weights import LocalizerWeights
from pipeline.common.artifacts import Fingerprint, chosen_on, fingerprint, making
from pipeline.common.records import replacing, write_json
from pipeline.common.verdict import starting_point
from pipeline.confidence.options import ConfidenceOptions
from pipeline.fitting.loop import validate
from pipeline.metrics.estimators import INPUTS
from pipeline.metrics.evaluation import metrics_config
from pipeline.metrics.matching import Gate, found_sources, match_sources, true_sources
from pipeline.metrics.predictions import run_estimator
from pipeline.scenes.identity import scenes_inputs
from pipeline.scenes.reading import load_scenes
from pipeline.train.options import BEST_MODEL
from tfds_shards.scene_sets import scene_set

_HOPELESS_SCORE = 0.02  # candidates below are no one's idea of a source and would only take matches away
_BATCH_SCENES = 40


class LabelledPeaks(NamedTuple):
    """What was found in many scenes, all float32, without correction.

    features: [n, NUM_FEATURES]. score: [n]. hit: [n], 0 or 1.
    squared: [n], squared Mahalanobis distance of a hit from the truth, 0 of what is none.
    gate: [n, 3], half widths of the gate in azimuth, elevation and range, in deviations of the found source.
    """

    features: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    squared: np.ndarray
    gate: np.ndarray

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """What the two losses of `fit` ask for: hit [n], and hit, squared and gate [n, 5]."""
        return self.hit, np.column_stack([self.hit, self.squared, self.gate])


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
    sources, gate = found_sources(found.outputs), metrics_config(taught.localizer.scenario).standard_gate
    table = match_sources(true_sources(found.truth), sources)
    rows = table.is_found
    where = table.scene[rows], table.found_slot[rows]
    hit = table.hits(gate)[rows]
    squared = np.where(hit, table.squared_mahalanobis[rows], 0.0)
    widths = gate_in_deviations(sources.position_m[where], sources.position_cov_m2[where], gate)
    columns = (found.outputs["score_features"][where], table.score[rows], hit, squared, widths)
    return LabelledPeaks(*(x.astype(np.float32) for x in columns))


def gate_in_deviations(position_m: np.ndarray, position_cov_m2: np.ndarray, gate: Gate) -> np.ndarray:
    """Half widths of the gate in azimuth, elevation and range over the deviations at [n] found positions: [n, 3]."""
    range_m = np.linalg.norm(position_m, axis=-1)
    azimuth, elevation = np.arctan2(position_m[:, 1], position_m[:, 0]), np.arcsin(position_m[:, 2] / range_m)
    slopes = angle_slopes(*map(tf.constant, (azimuth, elevation, range_m))).numpy()
    axes = np.concatenate([slopes, (position_m / range_m[:, None])[:, None]], axis=1)  # dq by azimuth, elevation, range
    deviations = np.sqrt(np.einsum("nai,nij,naj->na", axes, position_cov_m2, axes)) / np.sum(axes**2, axis=-1)
    return np.array([*np.radians([gate.azimuth_deg, gate.elevation_deg]), gate.range_m]) / deviations


def covariance_loss(labels: tf.Tensor, log_stretch: tf.Tensor) -> tf.Tensor:
    """-log p of the hits' errors, normal with stretched covariances and cut off by the gate, nats a candidate, [n].

    -log p = (3 s + d^2 e^-s) / 2 + sum over axes of log P(|x| <= g), x ~ N(0, e^s), up to a constant; the axes as if
    independent.

    Args:
      labels: [n, 5], see `LabelledPeaks.labels`.
      log_stretch: s, [n].
    """
    hit, squared, gate = labels[:, 0], labels[:, 1], labels[:, 2:]
    inside = tf.math.erf(gate * tf.exp(-0.5 * log_stretch)[:, None] / math.sqrt(2.0))
    cut_off = tf.reduce_sum(tf.math.log(tf.maximum(inside, 1e-6)), axis=-1)
    return hit * (0.5 * (3.0 * log_stretch + squared * tf.exp(-log_stretch)) + cut_off)


def _joined(parts: list[LabelledPeaks]) -> LabelledPeaks:
    return LabelledPeaks(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def fit(
    correction: ScoreCorrection, training: LabelledPeaks, validation: LabelledPeaks, options: ConfidenceOptions
) -> float:
    """Fits the correction in place and keeps the epoch that validates best; its loss there, see `loss_without`."""
    features, logit = keras.Input([NUM_FEATURES]), keras.Input([])
    corrections = correction(features)
    model = keras.Model([features, logit], [logit + corrections[..., 0], corrections[..., 1]])
    steps = math.ceil(len(training.hit) / options.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(options.learning_rate, options.epochs * steps)
    losses = [keras.losses.BinaryCrossentropy(from_logits=True), covariance_loss]
    model.compile(keras.optimizers.Adam(schedule), losses, jit_compile=False)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=20, restore_best_weights=True)
    inputs = [[part.features, score_logit(part.score)] for part in (training, validation)]
    history = model.fit(
        inputs[0],
        training.labels(),
        validation_data=(inputs[1], validation.labels()),
        epochs=options.epochs,
        batch_size=options.batch_size,
        callbacks=[stop],
        verbose=0,
    )
    return min(history.history["val_loss"])


def loss_without(candidates: LabelledPeaks) -> float:
    """Of scores and covariances without a correction, nats a candidate: cross-entropy, and `covariance_loss`."""
    logit = score_logit(tf.constant(candidates.score))
    hit, pairs = candidates.labels()
    loss = tf.nn.sigmoid_cross_entropy_with_logits(hit, logit) + covariance_loss(pairs, tf.zeros_like(logit))
    return float(tf.reduce_mean(loss))


def _by_set(weights: LocalizerWeights, options: ConfidenceOptions) -> dict[str, Taught]:
    """By set, one an installation: what a score says holds for all of them, and one correction is fitted."""
    scenarios = {config: scene_set(config).config.scenario for config in options.config}
    config = LocalizerConfig(coherence=options.coherence)
    of_scenario = {
        scenario: Taught(Localizer(moved_to(weights, scenario), config))
        for scenario in dict.fromkeys(scenarios.values())
    }
    return {config: of_scenario[scenario] for config, scenario in scenarios.items()}


def _validated(taught: Mapping[str, Taught], options: ConfidenceOptions) -> dict[str, dict[str, Any]]:
    """Metrics of every set with the weights as they are."""
    found: dict[str, dict[str, Any]] = {}
    for config, one in taught.items():
        held_out = (options.data_dir, [config], options.validation_scenes)
        found |= validate(one.localize, one.localizer.scenario, *held_out)
    return found


def expected_fingerprint(options: ConfidenceOptions) -> Fingerprint:
    """What decides the fit.

    Raises:
      FileNotFoundError, ValueError: scenes or weights that are not there.
    """
    scenes = scenes_inputs(options.data_dir, options.config)
    return fingerprint("confidence", options, scenes, left_out=("run_dir", "data_dir"))


def teach(options: ConfidenceOptions, logger: logging.Logger) -> None:
    """Collects, fits, validates, saves; leaves a finished run alone.

    Raises:
      Differs: the folder holds a run of other options, scenes, weights or code.
    """
    with making(options.run_dir, expected_fingerprint(options), logger, leftovers=("checkpoints", BEST_MODEL)) as run:
        if run.state == "done":
            return
        run.begin(options)
        _teach(options, logger)
        run.facts |= {
            "started_from": starting_point(options.weights),
            "chosen_on": max(options.validation_scenes, chosen_on(options.weights)),
        }
        run.finish(BEST_MODEL, "metrics.json")


def _teach(options: ConfidenceOptions, logger: logging.Logger) -> None:
    keras.utils.set_random_seed(options.seed)
    weights = load_weights(options.weights)
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
    unfitted = loss_without(validation)
    logger.info(f"loss on validation: {unfitted:.4f} before, {fitted:.4f} after")
    if not fitted < unfitted:
        correction.set_weights(fresh.get_weights())
        logger.info("the fit gained nothing: scores and covariances stay without a correction; more --scenes may help")
    for one in taught.values():
        one.localizer.weights.score_correction.set_weights(correction.get_weights())
    after = _validated(taught, options)
    for config in options.config:
        for name, metrics in (("before", before[config]), ("after", after[config])):
            calibration = metrics["calibration"]["expected_calibration_error"]
            squared_error = (metrics["position_covariance"] or {"nees_over_3": math.nan})["nees_over_3"]
            logger.info(
                f"{config} {name:6}: F1 {metrics['standard']['f1']:.4f}  objective {metrics['objective']:.3f}  "
                f"calibration error {calibration:.3f}  NEES / 3 {squared_error:.2f}"
            )
    with replacing(options.run_dir / BEST_MODEL) as temporary:
        weights.save(temporary)
    write_json(options.run_dir / "metrics.json", {"before": before, "after": after})
    logger.info(f"the weights with their score: {options.run_dir / BEST_MODEL}")
