"""Learns what an installation does otherwise than told, from scenes without labels: docs/calibrate.md."""

import dataclasses
import hashlib
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
import tyro
from tqdm import tqdm

from models.artifacts import load_backbone, moved_to
from pipeline.calibration.anchors import read_anchors
from pipeline.calibration.calibrating import (
    CalibrationResult,
    Settings,
    calibrate,
    calibrate_with_channel,
    check,
    update,
)
from pipeline.calibration.drift import DriftConfig
from pipeline.calibration.figures import draw_surface
from pipeline.calibration.files import file_digest, provenance, read_state, read_stored, write_calibration, write_state
from pipeline.calibration.scenes import SceneFiles, SceneModel, open_scenes
from pipeline.calibration.summary import result_lines, verdict_lines, warning_of
from pipeline.common.records import logging_to, plain
from tfds_shards.scene_sets import scene_set

_HOLDS, _DRIFTED, _ERROR = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class CalibrateOptions:
    """Learns the element response of a surface from unlabelled scenes and writes it to a file that others apply.

    With --check nothing is written: the exit code says whether a stored calibration holds for the scenes (0), they have
    drifted away from it (1), or that can't be said (2).
    """

    input: tuple[Path, ...]
    """Measurement files, .npz, of one installation."""
    output: Path | None = None
    """Calibration file, .npz; a plot NAME.png and logs go beside it. Run again after a kill, the search goes on."""
    check: Path | None = None
    """Calibration file whose validity the scenes are to tell; in place of --output."""
    update: Path | None = None
    """Calibration file that the scenes are folded into; the result goes to --output, which may be the same."""
    forget: float = 1.0
    """With --update: what one new scene leaves of the weight of all earlier ones; 0.99 remembers the last hundred."""
    anchors: Path | None = None
    """Known places of sources in some scenes, JSON: [{"scene": 3, "position_m": [[x, y, z]]}, ...]."""
    channel: bool = False
    """Also correct the channel, which must be the same in all scenes."""
    config: str = "l64_m64"
    """Scene config whose installation the scenes come from."""
    backbone: Path = Path("models/weights/backbone.keras")
    """Weights of the localizer."""
    settings: Settings = Settings()
    drift: DriftConfig = DriftConfig()

    def __post_init__(self) -> None:
        if (self.output is None) == (self.check is None):
            raise ValueError(
                "options: expected one of --output and --check, got " + ("both" if self.output else "none")
            )
        if self.check is not None and (self.update or self.anchors or self.channel):
            raise ValueError("--check: expected without --update, --anchors and --channel, got one of them")
        if not 0 < self.forget <= 1:
            raise ValueError(f"--forget: expected above 0, at most 1, got {self.forget}")
        if self.forget < 1 and self.update is None:
            raise ValueError(f"--forget: needs --update, got {self.forget} without it")


def _bar(name: str, scenes: int) -> Callable[[int], None]:
    bar = tqdm(total=scenes, unit="scene", desc=name, leave=False)

    def done(count: int) -> None:
        bar.update(count)
        if bar.n >= scenes:
            bar.close()

    return done


def _fingerprint(options: CalibrateOptions) -> str:
    """Of what a run's result depends on."""
    files = [*options.input, *([options.anchors] if options.anchors else []), options.backbone]
    content = {
        "files": [file_digest(path) for path in files],
        "options": [options.config, options.channel, options.settings],
    }
    return hashlib.sha256(json.dumps(plain(content), sort_keys=True).encode()).hexdigest()


def _model(options: CalibrateOptions) -> tuple[SceneModel, SceneFiles]:
    backbone = moved_to(load_backbone(options.backbone), scene_set(options.config).config.scenario)
    files = open_scenes(options.input, backbone.scenario.array.num_elements)
    return SceneModel(backbone, files.files[0].num_antennas), files


def _calibrated(options: CalibrateOptions, logger: logging.Logger) -> CalibrationResult:
    assert options.output is not None
    model, files = _model(options)
    anchors = read_anchors(options.anchors, len(files)) if options.anchors else {}
    about = provenance(model.array, options.input, len(files), options)
    if options.update is not None:
        old = read_stored(options.update, model.array)
        logger.info(f"folding {len(files)} scenes into {options.update} with {old.sums.scenes:.0f}")
        return update(model, files, old, options.forget, options.settings, anchors=anchors, about=about, progress=_bar)
    partial, fingerprint = options.output.with_name(options.output.name + ".partial.npz"), _fingerprint(options)
    start = read_state(partial, fingerprint)
    if start is not None:
        logger.info(f"going on from {partial}")
    result = (calibrate_with_channel if options.channel else calibrate)(
        model,
        files,
        options.settings,
        anchors=anchors,
        start=start,
        about=about,
        progress=_bar,
        keep=lambda state: write_state(partial, state, fingerprint),
    )
    partial.unlink(missing_ok=True)
    return result


def run_calibration(options: CalibrateOptions, logger: logging.Logger) -> CalibrationResult:
    """Calibrates and leaves the file, its plot and a summary.

    Raises:
      ValueError, OSError: what was asked for cannot be had; the message says what was wrong.
    """
    assert options.output is not None
    result = _calibrated(options, logger)
    write_calibration(options.output, result.stored)
    figure = options.output.with_suffix(".png")
    draw_surface(figure, result.stored, scene_set(options.config).config.scenario.array)
    for line in result_lines(result):
        logger.info(line)
    warning = warning_of(result)
    if warning is not None:
        logger.info(f"warning: {warning}")
    logger.info(f"{options.output}, {figure}")
    return result


def run_check(options: CalibrateOptions) -> int:
    """Tests a stored calibration; the exit code."""
    assert options.check is not None
    model, files = _model(options)
    stored = read_stored(options.check, model.array)
    verdict = check(model, files, stored, options.drift, _bar)
    for line in verdict_lines(verdict, options.drift.false_alarm_rate):
        print(line)
    return _DRIFTED if verdict.drifted else _HOLDS


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; the exit code."""
    try:
        options = tyro.cli(CalibrateOptions, prog="python -m pipeline.calibrate", args=argv)
        if options.check is not None:
            return run_check(options)
        assert options.output is not None
        with logging_to(options.output.parent / "logs", "calibrate") as (logger, log_path):
            logger.info(f"log: {log_path}")
            run_calibration(options, logger)
    except (ValueError, OSError, tf.errors.OpError, np.linalg.LinAlgError) as error:
        print(f"pipeline.calibrate: {str(error).strip().partition(chr(10))[0]}", file=sys.stderr)
        return _ERROR
    return _HOLDS


if __name__ == "__main__":
    sys.exit(main())
