"""Runs an estimator on a set of scenes and writes metrics, matches and figures."""

import csv
import dataclasses
import json
import logging
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.artifacts import load_refiner, load_weights, moved_to
from models.baselines.back_projection import back_projection_localizer
from models.baselines.crb import scene_bounds
from models.baselines.sequential_ml import SequentialMLConfig, sequential_ml_localizer
from models.localizer import Localizer
from models.physics.geometry import RISArray, Scenario
from models.spectrum_localizer import oracle_localizer, spectrum_localizer
from pipeline.common.artifacts import Artifact, Fingerprint, Input, fingerprint, making, output_digest
from pipeline.common.records import replacing, write_json
from pipeline.evaluate.options import EvaluateOptions
from pipeline.evaluate.summary import comparison_lines, summary_lines
from pipeline.figures import plots, scene_plots
from pipeline.metrics.comparison import compare
from pipeline.metrics.estimators import (
    Estimator,
    calibrated_estimator,
    chance_estimator,
    latest_version,
    localizer_estimator,
    saved_model_estimator,
    server_estimator,
)
from pipeline.metrics.evaluation import Evaluation, MetricsConfig, compute_metrics, metrics_config
from pipeline.metrics.match_counts import Difference
from pipeline.metrics.matching import MatchTable
from pipeline.metrics.predictions import evaluate_predictions, load_predictions, run_estimator, save_predictions
from pipeline.metrics.spectra import SPECTRA_FILE, save_spectra, spectra_of
from pipeline.release.versions import model_digest
from pipeline.scenes.identity import scenes_inputs
from pipeline.scenes.reading import load_scenes
from pipeline.scenes.surfaces import check_surface
from serving.client.calibration import read_calibration
from tfds_shards.scene_sets import scene_set

_SCENES_SHOWN = 5
_OUTPUTS = ("metrics.json", "scenes.npz", "matches.csv", "figures", SPECTRA_FILE)


def make_estimator(options: EvaluateOptions, scenario: Scenario) -> tuple[str, Estimator]:
    """Creates the estimator that the options select, and its description for metrics.json."""
    if options.saved_model is not None:
        return f"SavedModel {options.saved_model}", saved_model_estimator(options.saved_model)
    if options.target is not None:
        return f"{options.model_name} at {options.target}", server_estimator(options.target, options.model_name)
    if options.spectrum_of is not None:
        weights = moved_to(load_weights(options.spectrum_of), scenario)
        if options.refiner is None:
            return f"MVDR on R_pred of {options.spectrum_of} alone", spectrum_localizer(Localizer(weights))
        localizer = Localizer(weights, refiner=load_refiner(options.refiner))
        return f"MVDR on R_pred of {options.spectrum_of}, refined by {options.refiner}", spectrum_localizer(localizer)
    if options.baseline == "sequential_ml":
        config = SequentialMLConfig(noise_inflation=options.noise_inflation)
        return f"sequential ML, noise inflation {config.noise_inflation:g}", sequential_ml_localizer(scenario, config)
    if options.baseline == "back_projection":
        return "back-projection", back_projection_localizer(scenario)
    if options.oracle:
        return "MVDR on the true covariance", oracle_localizer(scenario)
    if options.chance:
        return "chance", chance_estimator(scenario)
    name = "untrained" if options.untrained else f"weights {options.backbone}"
    return f"localizer, {name}", localizer_estimator(Localizer(moved_to(load_weights(options.weights), scenario)))


def write_matches(path: Path, table: MatchTable, config: MetricsConfig) -> None:
    """Writes one CSV row for each pair, miss and false alarm; NaN becomes an empty cell."""
    columns = {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}
    gates = {"hit_standard": config.standard_gate, "hit_strict": config.strict_gate}
    columns |= {name: table.hits(gate).astype(int) for name, gate in gates.items()}
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*(column.tolist() for column in columns.values()), strict=True):
            writer.writerow("" if math.isnan(value) else f"{value:.9g}" for value in row)


def with_bounds(batches: Iterable[Mapping[str, Any]], array: RISArray) -> Iterator[dict[str, Any]]:
    """Adds bound_m to each batch: the Cramer-Rao bound of each source's position error, [B, K], metres."""
    for batch in batches:
        arrays = {key: np.asarray(value) for key, value in batch.items()}
        yield {**batch, "bound_m": scene_bounds(arrays, array).error_m}


def draw_figures(directory: Path, evaluation: Evaluation, metrics: dict[str, Any], scenario: Scenario) -> list[Path]:
    """Writes all figures for which there is data, and returns their paths."""
    figures = {
        "scenes": scene_plots.plot_scenes(evaluation, scenario, scene_plots.pick_scenes(evaluation, _SCENES_SHOWN)),
        "snr": plots.plot_snr(metrics),
        "position_error": plots.plot_error_distribution(evaluation),
        "num_sources": plots.plot_confusion(metrics),
        "range": plots.plot_range(metrics),
    }
    if evaluation.truth.bound_m is not None:
        figures["bound"] = plots.plot_bound(evaluation)
    if metrics["calibration"] is not None:
        figures["reliability"] = plots.plot_reliability(metrics["calibration"])
    paths = [directory / f"{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        plots.save_figure(figure, path)
    return paths


def expected_fingerprint(options: EvaluateOptions) -> Fingerprint:
    """Fingerprint of an evaluation with these options."""
    inputs = scenes_inputs(options.data_dir, [options.config])
    if options.saved_model is not None:
        version = latest_version(options.saved_model)
        inputs["the model"] = Input(model_digest(version), version)
    if options.compare_with is not None:
        other = options.compare_with / "scenes.npz"
        if not other.exists():
            raise ValueError(f"scenes.npz: expected an evaluation's file at {other}, got none")
        inputs["the evaluation compared with"] = Input(output_digest(other), other)
    if options.calibration is not None:
        inputs["the calibration"] = Input(output_digest(options.calibration), options.calibration)
    left_out = ("output_dir", "data_dir", "saved_model", "compare_with", "calibration")
    return fingerprint("evaluate", options, inputs, left_out=left_out)


def evaluate(options: EvaluateOptions, logger: logging.Logger) -> dict[str, Any]:
    """Runs an evaluation, writes its files to the output folder and returns the metrics, see `compute_metrics`.

    A complete evaluation is not repeated, except with --target, because the model on a server may change.
    """
    with making(options.output_dir, expected_fingerprint(options), logger, leftovers=_OUTPUTS) as run:
        if run.state == "done" and options.target is None:
            found: dict[str, Any] = json.loads((options.output_dir / "metrics.json").read_text(encoding="utf-8"))
            return found
        metrics = _evaluate(options, run, logger)
        run.facts["metrics"] = {name: metrics[name] for name in ("objective", "rmse_xyz_m")}
        run.facts["metrics"] |= {name: metrics["standard"][name] for name in ("f1", "precision", "recall")}
        run.finish(*(name for name in _OUTPUTS if (options.output_dir / name).exists()))
    return metrics


def _evaluate(options: EvaluateOptions, run: Artifact, logger: logging.Logger) -> dict[str, Any]:
    scenes = scene_set(options.config).config
    scenario = scenes.scenario
    batches: Iterable[Mapping[str, Any]] = load_scenes(
        options.data_dir, options.config, options.split, take=options.scenes, batch_size=options.batch_size
    )
    if options.bounds and scenes.is_as_told:
        batches = with_bounds(batches, scenario.array)
    other = None
    if options.compare_with is not None:
        other = evaluate_predictions(load_predictions(options.compare_with / "scenes.npz"), metrics_config(scenario))
    name, estimator = make_estimator(options, scenario)
    name, estimator = _with_calibration(name, estimator, options, scenario.array)
    logger.info(f"{name}: {options.scenes} scenes of {options.config}, split {options.split}")
    predictions = run_estimator(estimator, batches, options.scenes)
    run.begin(options)
    for path in (options.output_dir / name for name in _OUTPUTS):  # of an unfinished evaluation
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    save_predictions(options.output_dir / "scenes.npz", predictions)
    if options.spectra:
        _write_spectra(options, scenario.array)
    evaluation = evaluate_predictions(predictions, metrics_config(scenario))
    metrics = {"estimator": name, "scenes_per_second": predictions.scenes_per_second(), **compute_metrics(evaluation)}
    differences = compare(evaluation, other) if other is not None else {}
    if differences:
        metrics["minus_compared"] = {key: dataclasses.asdict(value) for key, value in differences.items()}
    write_matches(options.output_dir / "matches.csv", evaluation.table, evaluation.config)
    if options.figures:
        draw_figures(options.output_dir / "figures", evaluation, metrics, scenario)
    write_json(options.output_dir / "metrics.json", metrics)
    _log_summary(logger, metrics, differences, options)
    return metrics


def _with_calibration(
    name: str, estimator: Estimator, options: EvaluateOptions, array: RISArray
) -> tuple[str, Estimator]:
    """Applies the calibration file, if there is one, to a named estimator."""
    if options.calibration is None:
        return name, estimator
    calibration = read_calibration(options.calibration)
    check_surface(calibration, array)
    return f"{name}, calibrated with {options.calibration}", calibrated_estimator(estimator, calibration)


def _write_spectra(options: EvaluateOptions, array: RISArray) -> None:
    """Writes the MVDR spectra of the first scenes."""
    assert options.saved_model is not None
    count = min(options.spectra, options.scenes)
    scenes = load_scenes(options.data_dir, options.config, options.split, take=count, batch_size=count)
    _, spectrum = _with_calibration("", saved_model_estimator(options.saved_model, "spectrum"), options, array)
    save_spectra(options.output_dir / SPECTRA_FILE, spectra_of(spectrum, next(iter(scenes))))


def _log_summary(
    logger: logging.Logger, metrics: dict[str, Any], differences: dict[str, Difference], options: EvaluateOptions
) -> None:
    for line in summary_lines(metrics):
        logger.info(line)
    if differences:
        logger.info(f"difference to {options.compare_with}, paired:")
        for line in comparison_lines(differences):
            logger.info(line)
    if metrics["scenes_per_second"] is not None:
        logger.info(f"{metrics['scenes_per_second']:.1f} scenes/s after the first batch")
    logger.info(
        f"metrics.json, scenes.npz, matches.csv{', figures/' if options.figures else ''} in {options.output_dir}"
    )
