"""Measures self-calibration: F1 on other scenes of the installation, uncalibrated, calibrated, with known errors."""

import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from models.artifacts import load_weights, moved_to
from models.localizer import Localizer
from models.physics.geometry import Scenario
from models.weights import PRETRAINED
from pipeline.calibrate.files import StoredCalibration, read_stored
from pipeline.calibrate.options import CalibrateOptions
from pipeline.calibrate.running import run_calibration
from pipeline.common.log import logging_to
from pipeline.common.records import plain
from pipeline.metrics.estimators import Estimator, localizer_estimator
from pipeline.metrics.evaluation import metrics_config
from pipeline.metrics.predictions import evaluate_predictions, run_estimator
from serving.client.calibration import Calibration
from tests.rigs.calibration.installations import INPUTS, Errors, Installed, draw_installation, draw_scenes
from tfds_shards.simulator import CONFIGS

_BATCH = 20


@dataclasses.dataclass(frozen=True)
class RigOptions:
    """Draws an installation with errors, calibrates it on some scenes, and scores it on others."""

    errors: Errors = Errors(phase_rms_rad=0.3, dead_share=0.05)
    config: str = "l64_m64"
    """Scene config: propagation environment and nominal installation."""
    scenes: int = 20
    """Number of unlabelled scenes for the calibration."""
    test_scenes: int = 500
    """Number of other scenes, for the score."""
    seed: int = 1
    backbone: Path = PRETRAINED


def score(estimator: Estimator, scenes: Mapping[str, np.ndarray], calibration: Calibration | None, scenario: Scenario):
    """Returns F1 and rmse of an estimator, with a calibration or None."""
    count = len(scenes["snr_db"])
    batches: list[dict[str, Any]] = [
        {name: value[start : start + _BATCH] for name, value in scenes.items()} for start in range(0, count, _BATCH)
    ]
    if calibration is not None:
        batches = [calibration.apply(batch) for batch in batches]
    predictions = run_estimator(estimator, batches, count, show_progress=False)
    tally = evaluate_predictions(predictions, metrics_config(scenario)).standard.total()
    return {"f1": round(float(tally.f1), 4), "rmse_m": round(float(tally.rmse_xyz_m), 3)}


def truth_of(installed: Installed) -> Calibration:
    """Returns the calibration that corrects all errors exactly."""
    told, channel = installed.told_channel, installed.channel
    correction = None if told is None or channel is None else channel - told
    return Calibration(installed.element_response.astype(np.complex64), told, correction, {})


def response_error(found: np.ndarray, true: np.ndarray) -> float:
    """Returns the rms error of g after the best common factor, relative to the rms of g."""
    factor = np.vdot(found, true) / np.vdot(found, found)
    return float(np.linalg.norm(factor * found - true) / np.linalg.norm(true))


def _figures(stored: StoredCalibration, installed: Installed) -> dict[str, Any]:
    true_dead = installed.element_response == 0
    hits = int(np.sum(stored.dead & true_dead))
    scale = np.linalg.norm(installed.element_response) / np.sqrt(true_dead.size)
    return {
        "response_error": round(response_error(stored.element_response, installed.element_response), 4),
        "standard_error": round(float(np.sqrt(np.mean(stored.element_response_std**2))) / scale, 4),
        "dead_recall": hits / max(int(true_dead.sum()), 1),
        "dead_precision": hits / max(int(stored.dead.sum()), 1),
    }


def run_row(options: RigOptions, *, with_channel: bool) -> dict[str, Any]:
    """Returns the figures of one installation."""
    config = CONFIGS[options.config]
    scenario = config.scenario
    installed = draw_installation(options.seed, options.errors, config)
    with tempfile.TemporaryDirectory() as directory:
        path, output = Path(directory, "measurement.npz"), Path(directory, "calibration.npz")
        scenes = draw_scenes(2 * options.seed, options.scenes, installed, config)
        np.savez(path, allow_pickle=False, **{name: scenes[name] for name in INPUTS})
        calibrate_options = CalibrateOptions(
            (path,), output, channel=with_channel, backbone=options.backbone, config=options.config
        )
        with logging_to(Path(directory, "logs"), "rig") as (logger, _):
            started = time.monotonic()
            run_calibration(calibrate_options, logger)
            seconds = time.monotonic() - started
        stored = read_stored(output, scenario.array)
    light = Calibration(stored.element_response, stored.channel, stored.channel_correction, stored.about)
    test = draw_scenes(2 * options.seed + 1, options.test_scenes, installed, config)
    estimator = localizer_estimator(Localizer(moved_to(load_weights(options.backbone), scenario)))
    return {
        "options": plain(options),
        "seconds": round(seconds, 1),
        "load": os.getloadavg()[0],
        **_figures(stored, installed),
        "not_told": score(estimator, test, None, scenario),
        "calibrated": score(estimator, test, light, scenario),
        "told": score(estimator, test, truth_of(installed), scenario),
    }


def main() -> None:
    """Command line entry point."""
    options = tyro.cli(RigOptions, prog="python -m tests.rigs.calibration")
    row = run_row(options, with_channel=options.errors.channel_error_db > -np.inf)
    print(json.dumps(row))


if __name__ == "__main__":
    main()
