"""Runs `python -m pipeline.calibrate`: reads the inputs, then writes the calibration or logs the verdict."""

import functools
import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from models.artifacts import load_weights, moved_to
from models.physics.geometry import Scenario
from models.physics.installation import load_installation
from pipeline.calibrate.anchors import read_anchors
from pipeline.calibrate.calibrating import CalibrationResult, calibrate, check, update
from pipeline.calibrate.figures import draw_surface
from pipeline.calibrate.files import provenance, read_state, read_stored, write_calibration, write_state
from pipeline.calibrate.options import CalibrateOptions
from pipeline.calibrate.scenes import SceneFiles, SceneModel, open_scenes
from pipeline.calibrate.summary import result_lines, verdict_line, warning_of
from pipeline.common.digests import file_digest
from pipeline.common.main import FAIL
from pipeline.common.records import plain
from tfds_shards.scene_sets import scene_set


def _bar(name: str, scenes: int) -> Callable[[int], None]:
    bar = tqdm(total=scenes, unit="scene", desc=name, leave=False)

    def done(count: int) -> None:
        bar.update(count)
        if bar.n >= scenes:
            bar.close()

    return done


def scenario_of(options: CalibrateOptions) -> Scenario:
    """The installation that the options name."""
    if options.installation is not None:
        return load_installation(options.installation)
    return Scenario() if options.config is None else scene_set(options.config).config.scenario


def opened(options: CalibrateOptions) -> tuple[SceneModel, SceneFiles]:
    """Loads the model and opens the scenes that the options name."""
    backbone = moved_to(load_weights(options.weights), scenario_of(options)).backbone
    files = open_scenes(options.input, backbone.scenario.array.num_elements)
    return SceneModel(backbone, files.num_antennas), files


def _fingerprint(options: CalibrateOptions, model: SceneModel) -> str:
    """Hash of everything the result depends on."""
    files = [*options.input, options.anchors, options.weights]
    digests = [file_digest(path) if path is not None else None for path in files]
    content = [digests, model.backbone.scenario, options.channel, options.settings]
    return hashlib.sha256(json.dumps(plain(content), sort_keys=True).encode()).hexdigest()


def _calibrated(
    options: CalibrateOptions, model: SceneModel, files: SceneFiles, logger: logging.Logger
) -> CalibrationResult:
    assert options.output is not None
    anchors = read_anchors(options.anchors, len(files)) if options.anchors else {}
    about = provenance(model.array, options.input, len(files), options)
    given: dict[str, Any] = {"anchors": anchors, "about": about, "progress": _bar}
    if options.update is not None:
        old = read_stored(options.update, model.array)
        logger.info(f"adding {len(files)} scenes to {options.update}, which has {old.sums.scenes:.0f}")
        return update(model, files, old, options.forget, options.settings, **given)
    partial, fingerprint = options.output.with_name(f"{options.output.name}.partial.npz"), _fingerprint(options, model)
    start = read_state(partial, fingerprint)
    if start is not None:
        logger.info(f"resuming from {partial}")
    keep = functools.partial(write_state, partial, fingerprint=fingerprint)
    result = calibrate(model, files, options.settings, **given, start=start, keep=keep, channel=options.channel)
    partial.unlink(missing_ok=True)
    return result


def run_calibration(options: CalibrateOptions, logger: logging.Logger) -> CalibrationResult:
    """Calibrates, writes the file and its plot, and logs a summary."""
    assert options.output is not None
    model, files = opened(options)
    result = _calibrated(options, model, files, logger)
    write_calibration(options.output, result.stored)
    figure = options.output.with_suffix(".png")
    draw_surface(figure, result.stored, model.array)
    for line in result_lines(result):
        logger.info(line)
    if (warning := warning_of(result)) is not None:
        logger.info(f"warning: {warning}")
    logger.info(f"{options.output}, {figure}")
    return result


def run_check(options: CalibrateOptions, logger: logging.Logger) -> int | None:
    """Tests a stored calibration. Returns `FAIL` if the installation has drifted away from it."""
    assert options.check is not None
    model, files = opened(options)
    stored = read_stored(options.check, model.array)
    verdict = check(model, files, stored, options.drift, _bar)
    logger.info(verdict_line(verdict, options.drift.false_alarm_rate))
    return FAIL if verdict.drifted else None
