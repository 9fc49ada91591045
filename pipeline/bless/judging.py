"""Evaluates a model and the latest blessed one on the reserved test scenes, and writes the verdict."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.bless.blessing import BLESSED, Answers, bless, slice_table
from pipeline.bless.options import BLESSING_FILE, BlessOptions
from pipeline.bless.thresholds import read_thresholds
from pipeline.common.artifacts import Fingerprint, Input, fingerprint, making
from pipeline.common.records import plain, write_json
from pipeline.common.run_folders import read_record
from pipeline.metrics.estimators import latest_version, saved_model_estimator
from pipeline.metrics.evaluation import metrics_config
from pipeline.metrics.predictions import Predictions, evaluate_predictions, run_estimator
from pipeline.release.versions import Version, model_digest, read_release, versions_in
from pipeline.scenes.identity import common_scenario, scenes_inputs
from pipeline.scenes.reading import load_scenes
from tfds_shards.scene_sets import scene_set

_BATCH = 20


def latest_blessed(base_path: Path | None, candidate: str) -> Version | None:
    """The latest version that was blessed, is not withdrawn and holds another model than the candidate; or None."""
    for version in reversed(versions_in(base_path) if base_path is not None else []):
        release = read_release(version.path) or {}
        blessed = release.get("blessing", {}).get("verdict") == BLESSED
        if blessed and not version.withdrawn and release.get("model") != candidate:
            return version
    return None


def expected_fingerprint(options: BlessOptions) -> Fingerprint:
    """Everything that determines the verdict, except the latest blessed model, which changes with every push."""
    version = latest_version(options.saved_model)
    inputs = scenes_inputs(options.data_dir, options.config)
    inputs["the model"] = Input(model_digest(version), version)
    left_out = ("run_dir", "data_dir", "model_base_path", "saved_model")
    return fingerprint("bless", options, inputs, left_out=left_out)


def judge(options: BlessOptions, logger: logging.Logger) -> dict[str, Any]:
    """Evaluates and writes the verdict, or reads an existing one that is still valid; returns the record. Raises
    `Differs` if the folder holds a verdict made with other options or inputs."""
    with making(options.run_dir, expected_fingerprint(options), logger) as run:
        if run.state != "done" or not stands(options):
            run.begin(options)
            write_json(options.run_dir / BLESSING_FILE, _judge(options, logger))
            run.finish(BLESSING_FILE)
    record = read_record(options.run_dir / BLESSING_FILE)
    logger.info(f"{record['verdict']}: {'; '.join(record['reasons']) or 'all thresholds hold'}")
    return record


def stands(options: BlessOptions) -> bool:
    """Whether the existing verdict compares with the model that is the latest blessed one now."""
    record = read_record(options.run_dir / BLESSING_FILE)
    blessed = latest_blessed(options.model_base_path, record["model"])
    there = record["baseline"]["model"] if record["baseline"] is not None else None
    return bool(there == (model_digest(blessed.path) if blessed is not None else None))


def _judge(options: BlessOptions, logger: logging.Logger) -> dict[str, Any]:
    thresholds = () if options.thresholds is None else read_thresholds(options.thresholds)
    version = latest_version(options.saved_model)
    blessed = latest_blessed(options.model_base_path, model_digest(version))
    candidate = _answers(options, version)
    baseline = _answers(options, blessed.path) if blessed is not None else None
    verdict = bless(thresholds, candidate, baseline)
    for check in verdict.checks:
        logger.info(f"{'holds' if check.holds else 'FAILS'}: {check.reason}")
    table = slice_table(candidate, baseline)
    for row in table:
        logger.info("  ".join(_cell(name, value) for name, value in row.items()))
    return plain(
        {
            "verdict": verdict.verdict,
            "reasons": verdict.reasons,
            "model": model_digest(version),
            "checks": verdict.checks,
            "baseline": {"version": blessed.number, "model": model_digest(blessed.path)} if blessed else None,
            "slices": table,
            "config": options.config,
            "test_scenes": {config: list(_block(options, config)) for config in options.config},
        }
    )


def _cell(name: str, value: Any) -> str:
    if isinstance(value, list):
        return f"[{value[0]:+.3f}, {value[1]:+.3f}]"
    return f"{name} {value:.3f}" if isinstance(value, float) else str(value)


def _block(options: BlessOptions, config: str) -> tuple[int, int]:
    """First and past-the-end index of the reserved test scenes; ValueError if the split has fewer."""
    size = scene_set(config).sizes["test"]
    if options.scenes > size:
        raise ValueError(f"--scenes: expected at most {size}, the test scenes of {config}, got {options.scenes}")
    return size - options.scenes, size


def _answers(options: BlessOptions, version: Path) -> Answers:
    estimator, parts = saved_model_estimator(version), []
    for config in options.config:
        first, _ = _block(options, config)
        batches = load_scenes(options.data_dir, config, "test").skip(first).batch(_BATCH)
        parts.append(run_estimator(estimator, batches, options.scenes))
    joined = Predictions(
        np.concatenate([part.snr_db for part in parts]),
        {name: np.concatenate([part.truth[name] for part in parts]) for name in parts[0].truth},
        {name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].outputs},
    )
    evaluation = evaluate_predictions(joined, metrics_config(common_scenario(options.config)))
    return Answers(evaluation, np.repeat(options.config, options.scenes))
