"""Checks every scene of a set on disk, and writes the verdict with statistics."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.common.artifacts import Fingerprint, fingerprint, making
from pipeline.common.records import plain, write_json
from pipeline.common.run_folders import read_record
from pipeline.scenes.identity import scenes_inputs
from pipeline.scenes.reading import load_scenes
from pipeline.validate.options import VALID, VALIDATION_FILE, ValidateOptions
from pipeline.validate.validation import Findings, duplicates, inspect, measurement_figures, skew, summary
from serving.client.measurement import read_measurement
from tfds_shards.scene_sets import scene_set

INVALID = "INVALID"
_BATCH = 200
_SHOWN = 3


def expected_fingerprint(options: ValidateOptions) -> Fingerprint:
    """Everything that determines the verdict; FileNotFoundError or ValueError if an input does not exist."""
    scenes = scenes_inputs(options.data_dir, [options.config])
    return fingerprint("validate", options, scenes, left_out=("run_dir", "data_dir"))


def validate(options: ValidateOptions, logger: logging.Logger) -> dict[str, Any]:
    """Checks the scenes and writes the verdict, or reads an existing one; returns the record. Raises `Differs` if
    the folder holds a verdict made with other options or inputs."""
    with making(options.run_dir, expected_fingerprint(options), logger) as run:
        if run.state != "done":
            run.begin(options)
            write_json(options.run_dir / VALIDATION_FILE, plain(_validate(options, logger)))
            run.finish(VALIDATION_FILE)
    record = read_record(options.run_dir / VALIDATION_FILE)
    logger.info(f"{record['verdict']}: {'; '.join(record['reasons'][:_SHOWN]) or 'no faults found'}")
    return record


def _validate(options: ValidateOptions, logger: logging.Logger) -> dict[str, Any]:
    expected = scene_set(options.config)
    by_split: dict[str, Findings] = {}
    for split in expected.sizes:
        batches = load_scenes(options.data_dir, options.config, split, batch_size=_BATCH)
        by_split[split] = inspect(batches.as_numpy_iterator(), expected)
        logger.info(f"{split}: {len(by_split[split].hashes)} scenes, {sum(by_split[split].faults.values())} faults")
    twice = duplicates(by_split)
    reasons = twice[:_SHOWN] + ([f"{len(twice)} scenes are duplicates"] if len(twice) > _SHOWN else [])
    for split, found in by_split.items():
        reasons += [f"{split}: {fault}, {count} scenes" for fault, count in found.faults.items()]
    figures = {split: found.measured() for split, found in by_split.items()}
    skewed = _skew(options, figures["train"])
    for name, row in skewed.items():
        logger.info(f"measurements, {name}: distance {row['distance']:.3f}, limit {row['limit']:.3f}")
    reasons += [
        f"measurements: {name} is {row['distance']:.2f} from the training scenes, allowed at most {row['limit']:.2f}"
        for name, row in skewed.items()
        if row["skewed"]
    ]
    return {
        "verdict": INVALID if reasons else VALID,
        "reasons": reasons,
        "duplicates": len(twice),
        "statistics": {split: {name: summary(x) for name, x in found.items()} for split, found in figures.items()},
        "skew": skewed,
    }


def _skew(options: ValidateOptions, training: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    if options.measurements is None:
        return {}
    measurement = read_measurement(options.measurements)
    served = measurement_figures(measurement.inputs(0, len(measurement)))
    return skew(training, served, options.skew_limit)
