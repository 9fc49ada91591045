"""Trains the SpectrumRefiner on the spectra of a backbone; the sources read from its heat map score every epoch."""

import dataclasses
import logging
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from models.artifacts import load_refiner, load_weights, moved_to, with_settings
from models.config import LocalizerConfig
from models.localizer import Localizer
from models.spectrum.refiner import SpectrumRefiner
from models.spectrum_localizer import Reading, read_spectrum, reading
from pipeline.common.artifacts import chosen_on
from pipeline.common.verdict import starting_point, verdict_or_force
from pipeline.figures import spectrum_plots
from pipeline.figures.plots import save_figure
from pipeline.fitting.backbone_training import BackboneTraining
from pipeline.fitting.distribution import join_workers
from pipeline.fitting.loop import optimizer, run_fingerprint
from pipeline.fitting.validation import BATCH, ValidatedTraining
from pipeline.metrics.estimators import INPUTS
from pipeline.metrics.evaluation import Evaluation, compute_metrics, metrics_config
from pipeline.metrics.predictions import evaluate_predictions, run_estimator
from pipeline.refine.options import RefineOptions
from pipeline.refine.refiner_training import RefinerTraining
from pipeline.scenes.identity import common_scenario
from pipeline.scenes.reading import load_scenes
from pipeline.train.options import BEST_MODEL

REFINER_MODEL = "refiner.keras"
_LEVELS = np.linspace(0.1, 0.8, 15)  # values of min_presence that a validation tries
_SCENES_SHOWN = 4
_GRID_ONLY = {"steps": 0, "settling_steps": 0, "additions": 0}


def prepare(options: RefineOptions) -> tuple[Localizer, RefinerTraining]:
    """Sets all seeds; returns the localizer at the start of the training and the compiled model of its refiner."""
    keras.utils.set_random_seed(options.seed)
    weights = moved_to(load_weights(options.weights), common_scenario(options.config))
    if options.grid_only:
        weights = with_settings(weights, _GRID_ONLY)
    localizer = Localizer(weights, LocalizerConfig(multipath=options.multipath), SpectrumRefiner(options.refiner))
    joint = BackboneTraining(localizer.backbone, options.losses, localizer.config.shrinkage) if options.joint else None
    model = RefinerTraining(localizer, options.offset_weight, joint)
    model.compile(optimizer=optimizer(options), jit_compile=False)
    return localizer, model


class Validation:
    """Validates the sources read from the heat map and sets the refiner's min_presence to the level of highest F1."""

    def __init__(self, localizer: Localizer, options: RefineOptions) -> None:
        assert localizer.refiner is not None
        self.localizer, self.options, self.refiner = localizer, options, localizer.refiner
        specs = list(localizer.input_specs().values())
        self.before_and_after = tf.function(self._before_and_after, specs, autograph=False)
        sweep = tf.function(self._at_every_level, specs, autograph=False)
        self.sweep = lambda scenes: sweep(*(scenes[name] for name in INPUTS))

    def __call__(self) -> dict[str, dict[str, Any]]:
        """Sets min_presence to the level of highest mean F1 over the sets; returns the metrics of every set at it."""
        by_config = {config: self._evaluations(config) for config in self.options.config}
        f1 = [[float(each.standard.total().f1) for each in evaluations] for evaluations in by_config.values()]
        best = int(np.argmax(np.sum(f1, axis=0)))
        self.refiner.min_presence.assign(_LEVELS[best])
        return {config: compute_metrics(evaluations[best]) for config, evaluations in by_config.items()}

    def _evaluations(self, config: str) -> list[Evaluation]:
        """The validation scenes of a set, evaluated at each level."""
        options, matching = self.options, metrics_config(self.localizer.scenario)
        batches = load_scenes(options.data_dir, config, "validation", take=options.validation_scenes, batch_size=BATCH)
        found = run_estimator(self.sweep, batches, options.validation_scenes, show_progress=False)
        outputs = [{name: value[:, index] for name, value in found.outputs.items()} for index in range(len(_LEVELS))]
        return [evaluate_predictions(dataclasses.replace(found, outputs=each), matching) for each in outputs]

    def _read(self, *inputs: tf.Tensor) -> Reading:
        observation = self.localizer.observe(*inputs)
        return reading(self.localizer, self.localizer.analyse(observation, inputs[-1]), observation)

    def _at_every_level(self, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """The outputs of `spectrum_localizer` at each level, [B, levels, ...]."""
        spectrum = self._read(*inputs)
        answers = []
        for level in _LEVELS:
            self.refiner.min_presence.assign(level)
            answers.append(read_spectrum(self.localizer, spectrum))
        return {name: tf.stack([answer[name] for answer in answers], axis=1) for name in answers[0]}

    def _before_and_after(self, *inputs: tf.Tensor) -> dict[str, Any]:
        """The spectrum in dB above its floor, the presence, and the sources found without and with the refiner."""
        spectrum = self._read(*inputs)
        assert spectrum.heat_map is not None
        return {
            "spectrum": 10.0 / math.log(10.0) * tf.math.log(spectrum.analysis.contrast()),
            "presence": tf.sigmoid(spectrum.heat_map.logits),
            "before": read_spectrum(self.localizer, spectrum._replace(heat_map=None)),
            "after": read_spectrum(self.localizer, spectrum),
        }

    def figure(self) -> Figure:
        """The spectra of the first validation scenes with the sources found before and after the refiner."""
        options, localizer = self.options, self.localizer
        first = {"take": _SCENES_SHOWN, "batch_size": _SCENES_SHOWN}
        batch = next(iter(load_scenes(options.data_dir, options.config[0], "validation", **first)))
        answer = self.before_and_after(*(batch[name] for name in INPUTS))
        before, after = answer["before"], answer["after"]
        degrees = {f"{name}_deg": math.degrees(1.0) * batch[name] for name in ("azimuth", "elevation")}
        truth, views = {**batch, **degrees}, []
        for scene, snr_db in enumerate(batch["snr_db"].numpy()):
            true, found, refined = (_positions(sources, scene) for sources in (truth, before, after))
            note = "" if bool(after["refined"][scene]) else ", not refined"
            title = f"scene {scene}, SNR {snr_db:.0f} dB{note}"
            spectrum, presence = (answer[name][scene].numpy() for name in ("spectrum", "presence"))
            views.append(spectrum_plots.SpectrumView(spectrum, presence, true, found, refined, title))
        return spectrum_plots.plot_spectra(views, localizer.mvdr.dictionary, localizer.backbone.dictionary)

    def images(self) -> dict[str, bytes]:
        """The figure as PNG, for TensorBoard."""
        return {"spectra": spectrum_plots.png(self.figure())}


def _positions(sources: Mapping[str, Any], scene: int) -> np.ndarray:
    """Azimuth, elevation (degrees) and range (metres) of the n sources of a scene, [n, 3]; used slots come first."""
    count, names = int(sources["num_sources"][scene]), ("azimuth_deg", "elevation_deg", "range_m")
    return np.stack([np.asarray(sources[name])[scene, :count] for name in names], -1)


def refine(options: RefineOptions, logger: logging.Logger) -> None:
    """Trains, or resumes, the run in options.run_dir; a finished run stays as it is."""
    fingerprint = run_fingerprint("refine", options)
    with (
        join_workers(options, logger) as distribution,
        distribution.making(options.run_dir, fingerprint, logger, leftovers=("checkpoints", BEST_MODEL)) as run,
    ):
        if run.state == "done":
            return
        logger.info(verdict_or_force(options.learnability, options.weights, *options.config, force=options.force))
        with distribution.strategy.scope():
            localizer, model = prepare(options)
        run.begin(options)
        validation = Validation(localizer, options)
        best = {REFINER_MODEL: validation.refiner, BEST_MODEL: localizer.weights}
        ValidatedTraining(model, options, distribution, logger, validation, best, validation.images).run()
        if not distribution.worker.is_chief:
            return
        localizer.weights.set_weights(load_weights(options.run_dir / BEST_MODEL).get_weights())
        validation.refiner.set_weights(load_refiner(options.run_dir / REFINER_MODEL).get_weights())
        figure = options.run_dir / "figures" / "spectra.png"
        save_figure(validation.figure(), figure)
        logger.info(f"spectra before and after: {figure}")
        run.facts |= {
            "started_from": starting_point(options.weights),
            "training_scenes": int(model.scenes_seen.numpy()),
            "chosen_on": max(options.validation_scenes, chosen_on(options.weights)),
        }
        run.finish(REFINER_MODEL, BEST_MODEL, "metrics.json", "figures")
