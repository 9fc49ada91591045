"""Fits the correction of scores and covariances (models/decision/scoring.py).

The localizer runs on training scenes, and the sources that it finds are matched with the true ones. The correction of
the score minimises the cross-entropy of hits; the correction of the covariance maximises the likelihood of the hits'
errors. Keras's `fit` trains it: the fit takes seconds and starts over after a kill.
"""

import functools
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
from pipeline.fitting.validation import validate
from pipeline.metrics.estimators import INPUTS
from pipeline.metrics.evaluation import metrics_config
from pipeline.metrics.matching import Gate, found_sources, match_sources, true_sources
from pipeline.metrics.predictions import run_estimator
from pipeline.scenes.identity import scenes_inputs
from pipeline.scenes.reading import load_scenes
from pipeline.train.options import BEST_MODEL
from tfds_shards.scene_sets import scene_set

_MIN_CANDIDATE_SCORE = 0.02  # candidates with a lower score are not sources and would only take matches away
_BATCH_SCENES = 40


class LabelledPeaks(NamedTuple):
    """n candidates of many scenes, matched with the true sources; all arrays are float32, without correction."""

    features: np.ndarray
    """Input of the correction, [n, NUM_FEATURES]."""
    score: np.ndarray
    hit: np.ndarray
    """1 for a hit, else 0, [n]."""
    squared: np.ndarray
    """Squared Mahalanobis distance of a hit from its true source, 0 for the others, [n]."""
    gate: np.ndarray
    """Half widths of the gate in azimuth, elevation and range, in standard deviations of the candidate, [n, 3]."""

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """The labels of the two losses of `fit`: hit [n], and the columns hit, squared and gate [n, 5]."""
        return self.hit, np.column_stack([self.hit, self.squared, self.gate])


class CandidateLocalizer:
    """A localizer as two estimators that share one graph; each call uses the current weights."""

    def __init__(self, localizer: Localizer) -> None:
        self.localizer = localizer
        self._graph = tf.function(self._reports, list(localizer.input_specs().values()), autograph=False)

    def _reports(self, *inputs: tf.Tensor) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        localizer = self.localizer
        candidates = localizer.candidates(*inputs)
        reported = localizer.report(candidates, localizer.config.decision.min_score)
        return reported, localizer.report(candidates, _MIN_CANDIDATE_SCORE, with_features=True)

    def localize(self, scenes: Mapping[str, Any]) -> Mapping[str, Any]:
        """The reported sources, see `Localizer.localize`."""
        return self._graph(*(scenes[name] for name in INPUTS))[0]

    def propose(self, scenes: Mapping[str, Any]) -> Mapping[str, Any]:
        """All candidates down to a score of `_MIN_CANDIDATE_SCORE`, with `score_features`."""
        return self._graph(*(scenes[name] for name in INPUTS))[1]


def collect(candidates: CandidateLocalizer, batches: Iterable[Mapping[str, Any]], num_scenes: int) -> LabelledPeaks:
    """Finds and labels the candidates of `num_scenes` scenes; the correction must be zero."""
    found = run_estimator(candidates.propose, batches, num_scenes)
    sources, gate = found_sources(found.outputs), metrics_config(candidates.localizer.scenario).standard_gate
    table = match_sources(true_sources(found.truth), sources)
    rows = table.is_found
    where = table.scene[rows], table.found_slot[rows]
    hit = table.hits(gate)[rows]
    squared = np.where(hit, table.squared_mahalanobis[rows], 0.0)
    widths = gate_in_deviations(sources.position_m[where], sources.position_cov_m2[where], gate)
    columns = (found.outputs["score_features"][where], table.score[rows], hit, squared, widths)
    return LabelledPeaks(*(x.astype(np.float32) for x in columns))


def gate_in_deviations(position_m: np.ndarray, position_cov_m2: np.ndarray, gate: Gate) -> np.ndarray:
    """Half widths of the gate in azimuth, elevation and range, divided by the standard deviations: [n, 3]."""
    range_m = np.linalg.norm(position_m, axis=-1)
    azimuth, elevation = np.arctan2(position_m[:, 1], position_m[:, 0]), np.arcsin(position_m[:, 2] / range_m)
    slopes = angle_slopes(*map(tf.constant, (azimuth, elevation, range_m))).numpy()
    axes = np.concatenate([slopes, (position_m / range_m[:, None])[:, None]], axis=1)  # dq by azimuth, elevation, range
    deviations = np.sqrt(np.einsum("nai,nij,naj->na", axes, position_cov_m2, axes)) / np.sum(axes**2, axis=-1)
    return np.array([*np.radians([gate.azimuth_deg, gate.elevation_deg]), gate.range_m]) / deviations


def covariance_loss(labels: tf.Tensor, log_stretch: tf.Tensor) -> tf.Tensor:
    """Negative log-likelihood of the hits' errors in nats per candidate, [n].

    Errors are normal with scaled covariances and truncated by the gate:
    -log p = (3 s + d^2 e^-s) / 2 + sum over axes of log P(|x| <= g), x ~ N(0, e^s), up to a constant. The axes are
    treated as independent. s is `log_stretch` [n], the log of the factor of the covariance; the labels [n, 5] are
    those of `LabelledPeaks.labels`.
    """
    hit, squared, gate = labels[:, 0], labels[:, 1], labels[:, 2:]
    inside = tf.math.erf(gate * tf.exp(-0.5 * log_stretch)[:, None] / math.sqrt(2.0))
    truncation = tf.reduce_sum(tf.math.log(tf.maximum(inside, 1e-6)), axis=-1)
    return hit * (0.5 * (3.0 * log_stretch + squared * tf.exp(-log_stretch)) + truncation)


def fit(
    correction: ScoreCorrection, training: LabelledPeaks, validation: LabelledPeaks, options: ConfidenceOptions
) -> float:
    """Fits the correction in place, keeps the epoch of the lowest validation loss, see `loss_without`; returns it."""
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
    """Cross-entropy plus `covariance_loss` without a correction, in nats per candidate."""
    logit = score_logit(tf.constant(candidates.score))
    hit, pairs = candidates.labels()
    loss = tf.nn.sigmoid_cross_entropy_with_logits(hit, logit) + covariance_loss(pairs, tf.zeros_like(logit))
    return float(tf.reduce_mean(loss))


def _localizers(weights: LocalizerWeights, options: ConfidenceOptions) -> dict[str, CandidateLocalizer]:
    """A localizer for every set; sets of the same scenario share one. A single correction is fitted for all sets."""
    settings = LocalizerConfig(multipath=options.multipath)
    of = functools.cache(lambda scenario: CandidateLocalizer(Localizer(moved_to(weights, scenario), settings)))
    return {config: of(scene_set(config).config.scenario) for config in options.config}


def _validate(localizers: Mapping[str, CandidateLocalizer], options: ConfidenceOptions) -> dict[str, dict[str, Any]]:
    """The metrics of every set with the current weights."""
    found: dict[str, dict[str, Any]] = {}
    for config, each in localizers.items():
        scenes = (options.data_dir, [config], options.validation_scenes)
        found |= validate(each.localize, each.localizer.scenario, *scenes)
    return found


def expected_fingerprint(options: ConfidenceOptions) -> Fingerprint:
    """What decides the fit."""
    scenes = scenes_inputs(options.data_dir, options.config)
    return fingerprint("confidence", options, scenes, left_out=("run_dir", "data_dir"))


def fit_confidence(options: ConfidenceOptions, logger: logging.Logger) -> None:
    """Collects candidates, fits the correction, validates and saves the weights; a finished run stays as it is."""
    with making(options.run_dir, expected_fingerprint(options), logger, leftovers=("checkpoints", BEST_MODEL)) as run:
        if run.state == "done":
            return
        run.begin(options)
        _fit_confidence(options, logger)
        run.facts |= {
            "started_from": starting_point(options.weights),
            "chosen_on": max(options.validation_scenes, chosen_on(options.weights)),
        }
        run.finish(BEST_MODEL, "metrics.json")


def _fit_confidence(options: ConfidenceOptions, logger: logging.Logger) -> None:
    keras.utils.set_random_seed(options.seed)
    weights = load_weights(options.weights)
    correction = weights.score_correction
    fresh = ScoreCorrection(correction.width)
    fresh.build((None, NUM_FEATURES))
    correction.set_weights(fresh.get_weights())
    localizers = _localizers(weights, options)

    def candidates(split: str, take: int) -> LabelledPeaks:
        parts = []
        for config in options.config:
            batches = load_scenes(options.data_dir, config, split, take=take, batch_size=_BATCH_SCENES)
            parts.append(collect(localizers[config], batches, take))
            share = float(parts[-1].hit.mean())
            logger.info(f"{config} {split}: {take} scenes, {len(parts[-1].hit)} candidates, {share:.3f} of them hits")
        return LabelledPeaks(*map(np.concatenate, zip(*parts, strict=True)))

    training, validation = candidates("train", options.scenes), candidates("validation", options.validation_scenes)
    before = _validate(localizers, options)
    fitted = fit(correction, training, validation, options)
    unfitted = loss_without(validation)
    logger.info(f"loss on validation: {unfitted:.4f} before, {fitted:.4f} after")
    if not fitted < unfitted:
        correction.set_weights(fresh.get_weights())
        logger.info("the fit did not lower the loss: scores and covariances keep no correction; more --scenes may help")
    for each in localizers.values():
        each.localizer.weights.score_correction.set_weights(correction.get_weights())
    after = _validate(localizers, options)
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
    logger.info(f"weights with the fitted score: {options.run_dir / BEST_MODEL}")
