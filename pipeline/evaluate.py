"""Scores a localizer on simulated scenes: `python -m pipeline.evaluate --help`, docs/evaluation.md."""

import csv
import dataclasses
import json
import logging
import math
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf
import tyro

from models.artifacts import load_refiner, load_weights, moved_to
from models.baselines.back_projection import back_projection_localizer
from models.baselines.crb import scene_bounds
from models.baselines.sequential_ml import SequentialMLConfig, sequential_ml_localizer
from models.localizer import Localizer
from models.physics.geometry import RISArray, Scenario
from models.spectrum_localizer import oracle_localizer, spectrum_localizer
from pipeline.common.artifacts import Artifact, Fingerprint, Input, fingerprint, making, output_digest
from pipeline.common.records import logging_to, replacing, write_json
from pipeline.evaluation.estimators import (
    Estimator,
    chance_estimator,
    latest_version,
    saved_model_estimator,
    server_estimator,
)
from pipeline.evaluation.figures import plots, scene_plots
from pipeline.evaluation.matching import MatchTable
from pipeline.evaluation.metrics import STANDARD_GATE, STRICT_GATE, Evaluation, compute_metrics, metrics_config
from pipeline.evaluation.predictions import evaluate_predictions, load_predictions, run_estimator, save_predictions
from pipeline.evaluation.summary import comparison_lines, summary_lines
from pipeline.evaluation.tally import Difference, Tally, paired_difference
from pipeline.release.pushing import model_digest
from pipeline.scenes.identity import scenes_inputs
from pipeline.scenes.reading import load_scenes
from serving.client import ServerError
from tfds_shards.scene_sets import scene_set

_SCENES_SHOWN = 5
_OUTPUTS = ("metrics.json", "scenes.npz", "matches.csv", "figures")


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Scores a localizer on simulated scenes and writes metrics, matches and figures.

    Say what to score with one of --saved-model, --target, --spectrum-of, --baseline, --oracle or --chance.
    """

    output_dir: Path
    """Where metrics.json, scenes.npz, matches.csv, config.json, figures/ and logs/ go."""
    saved_model: Path | None = None
    """A SavedModel, or the folder of its versions, of which the latest is taken."""
    target: str | None = None
    """HOST:PORT of a model server."""
    model_name: str = "ris_localizer"
    """The model's name on that server."""
    spectrum_of: Path | None = None
    """A backbone.keras: MVDR on its R_pred alone, sources read off the spectrum, nothing from the snapshots after."""
    refiner: Path | None = None
    """With --spectrum-of: a refiner.keras, off whose heat map the sources are read."""
    baseline: Literal["sequential_ml", "back_projection"] | None = None
    """A classical estimator: sequential maximum likelihood off the grid, or peaks of the back-projected power."""
    noise_inflation: float = 0.0
    """With --baseline sequential_ml: raises the noise power by this share of the signal's power, against channels and
    phases that are not as told."""
    oracle: bool = False
    """MVDR on the true covariance through the same detection: the ceiling."""
    chance: bool = False
    """Uniform random guesses: the floor."""
    data_dir: Path = Path("runs/data")
    """Where `python -m pipeline.data` put the scenes."""
    config: str = "l64_m64"
    """Set of scenes, as for `python -m pipeline.data`."""
    split: str = "test"
    """Split of the scenes."""
    scenes: int = 500
    """How many scenes, the first ones of the split."""
    batch_size: int = 20
    """Scenes a call."""
    compare_with: Path | None = None
    """Output folder of another evaluation of the same scenes: reports the differences with paired intervals."""
    bounds: bool = True
    """Compare errors with the Cramer-Rao bound; of scenes without impairments."""
    figures: bool = True
    """Draw the figures."""

    def __post_init__(self) -> None:
        estimators = ("saved_model", "target", "spectrum_of", "baseline", "oracle", "chance")
        chosen = [name for name in estimators if getattr(self, name)]
        if len(chosen) != 1:
            raise ValueError(
                "options: expected one of --saved-model, --target, --spectrum-of, --baseline, --oracle, --chance, got "
                + (", ".join("--" + name.replace("_", "-") for name in chosen) or "none")
            )
        if self.noise_inflation and self.baseline != "sequential_ml":
            raise ValueError(
                f"--noise-inflation: needs --baseline sequential_ml, got {self.noise_inflation} without it"
            )
        if self.refiner is not None and self.spectrum_of is None:
            raise ValueError(
                f"--refiner: needs --spectrum-of, got {self.refiner} without it; exported models hold theirs"
            )
        for field in ("scenes", "batch_size"):
            if getattr(self, field) < 1:
                raise ValueError(f"--{field.replace('_', '-')}: expected 1 or more, got {getattr(self, field)}")


def make_estimator(options: EvaluateOptions, scenario: Scenario) -> tuple[str, Estimator]:
    """The estimator the options ask for, and its name."""
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
    return "chance", chance_estimator(scenario)


def write_matches(path: Path, table: MatchTable) -> None:
    """Writes the table of pairs, misses and false alarms as CSV, a row each; empty cells where there is nothing."""
    columns = {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}
    columns |= {
        "hit_standard": table.hits(STANDARD_GATE).astype(int),
        "hit_strict": table.hits(STRICT_GATE).astype(int),
    }
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*(column.tolist() for column in columns.values()), strict=True):
            writer.writerow("" if math.isnan(value) else f"{value:.9g}" for value in row)


def with_bounds(batches: Iterable[Mapping[str, Any]], array: RISArray) -> Iterator[dict[str, Any]]:
    """The batches with bound_m, the Cramer-Rao bound of each source's position, [B, K] metres."""
    for batch in batches:
        arrays = {key: np.asarray(value) for key, value in batch.items()}
        yield {**batch, "bound_m": scene_bounds(arrays, array).error_m}


def draw_figures(directory: Path, evaluation: Evaluation, metrics: dict[str, Any], scenario: Scenario) -> list[Path]:
    """Draws every figure there is data for; returns their paths."""
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


def compare(evaluation: Evaluation, other: Evaluation) -> dict[str, Difference]:
    """Figures of one evaluation minus those of another of the same scenes, with paired bootstrap intervals.

    Raises:
      ValueError: the scenes are not the same.
    """
    if not np.array_equal(evaluation.truth.position_m, other.truth.position_m, equal_nan=True):
        raise ValueError("--compare-with: expected an evaluation of the same scenes, their sources differ")
    statistics: dict[str, tuple[str, Callable[[Tally], np.ndarray]]] = {
        "f1": ("standard", lambda tally: tally.f1),
        "strict_f1": ("strict", lambda tally: tally.f1),
        "rmse_xyz_m": ("standard", lambda tally: tally.rmse_xyz_m),
        "objective": ("standard", lambda tally: tally.objective),
    }
    config = evaluation.config
    return {
        name: paired_difference(
            getattr(evaluation, gate),
            getattr(other, gate),
            statistic,
            resamples=config.resamples,
            confidence=config.confidence,
            seed=config.seed,
        )
        for name, (gate, statistic) in statistics.items()
    }


def asked(options: EvaluateOptions) -> Fingerprint:
    """What decides an evaluation.

    Raises:
      ValueError, OSError: scenes or a model that are not there.
    """
    inputs = scenes_inputs(options.data_dir, [options.config])
    if options.saved_model is not None:
        version = latest_version(options.saved_model)
        inputs["the model"] = Input(model_digest(version), version)
    if options.compare_with is not None:
        other = options.compare_with / "scenes.npz"
        inputs["the evaluation compared with"] = Input(output_digest(other), other)
    left_out = ("output_dir", "data_dir", "saved_model", "compare_with")
    return fingerprint("pipeline.evaluate", options, inputs, left_out=left_out)


def evaluate(options: EvaluateOptions, logger: logging.Logger) -> dict[str, Any]:
    """Runs an evaluation and leaves its files in the output folder, or finds it done; returns the metrics.

    What a server answers may change, so that --target is asked anew each time.

    Raises:
      Differs: the folder holds another evaluation.
      ValueError, OSError, ServerError: what was asked for cannot be had; the message says what was wrong.
    """
    with making(options.output_dir, asked(options), logger, leftovers=_OUTPUTS) as run:
        if run.state == "done" and options.target is None:
            found: dict[str, Any] = json.loads((options.output_dir / "metrics.json").read_text(encoding="utf-8"))
            return found
        metrics = _evaluate(options, run, logger)
        run.facts["metrics"] = {name: metrics[name] for name in ("objective", "rmse_xyz_m")}
        run.facts["metrics"] |= {name: metrics["standard"][name] for name in ("f1", "precision", "recall")}
        run.finish(*(name for name in _OUTPUTS if (options.output_dir / name).exists()))
    return metrics


def _clear(output_dir: Path) -> None:
    """Removes what an unfinished evaluation left, so that all there is comes from one run."""
    for name in _OUTPUTS:
        path = output_dir / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _evaluate(options: EvaluateOptions, run: Artifact, logger: logging.Logger) -> dict[str, Any]:
    scenes = scene_set(options.config).config
    scenario = scenes.scenario
    batches: Iterable[Mapping[str, Any]] = load_scenes(
        options.data_dir, options.config, options.split, take=options.scenes, batch_size=options.batch_size
    )
    if options.bounds and scenes.impairments is None:
        batches = with_bounds(batches, scenario.array)
    other = None
    if options.compare_with is not None:
        other = evaluate_predictions(load_predictions(options.compare_with / "scenes.npz"), metrics_config(scenario))
    name, estimator = make_estimator(options, scenario)
    logger.info(f"{name}: {options.scenes} scenes of {options.config}, split {options.split}")
    predictions = run_estimator(estimator, batches, options.scenes)
    run.begin(options)
    _clear(options.output_dir)
    save_predictions(options.output_dir / "scenes.npz", predictions)
    evaluation = evaluate_predictions(predictions, metrics_config(scenario))
    metrics = {"estimator": name, "scenes_per_second": predictions.scenes_per_second(), **compute_metrics(evaluation)}
    differences = compare(evaluation, other) if other is not None else {}
    if differences:
        metrics["minus_compared"] = {key: dataclasses.asdict(value) for key, value in differences.items()}
    write_matches(options.output_dir / "matches.csv", evaluation.table)
    if options.figures:
        draw_figures(options.output_dir / "figures", evaluation, metrics, scenario)
    write_json(options.output_dir / "metrics.json", metrics)
    _log_summary(logger, metrics, differences, options)
    return metrics


def _log_summary(
    logger: logging.Logger, metrics: dict[str, Any], differences: dict[str, Difference], options: EvaluateOptions
) -> None:
    for line in summary_lines(metrics):
        logger.info(line)
    if differences:
        logger.info(f"minus {options.compare_with}, paired:")
        for line in comparison_lines(differences):
            logger.info(line)
    if metrics["scenes_per_second"] is not None:
        logger.info(f"{metrics['scenes_per_second']:.1f} scenes/s after the first batch")
    logger.info(
        f"metrics.json, scenes.npz, matches.csv{', figures/' if options.figures else ''} in {options.output_dir}"
    )


def main() -> None:
    """Command line entry point."""
    options = tyro.cli(EvaluateOptions, prog="python -m pipeline.evaluate", config=(tyro.conf.FlagCreatePairsOff,))
    try:
        with logging_to(options.output_dir / "logs", "evaluate") as (logger, log_path):
            logger.info(f"log: {log_path}")
            evaluate(options, logger)
    except (ValueError, OSError, tf.errors.OpError, ServerError) as error:
        first_line = str(error).strip().partition("\n")[0]
        sys.exit(f"pipeline.evaluate: {first_line}")


if __name__ == "__main__":
    main()
