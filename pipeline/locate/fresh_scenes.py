"""Sends scenes that are in no data set to a model server in another process; compares true with found sources."""

import logging
import time

import numpy as np

from models.physics.geometry import Scenario
from pipeline.locate.options import LocateOptions
from pipeline.metrics.evaluation import metrics_config
from pipeline.metrics.matching import Sources, found_sources, match_sources, true_sources
from serving.client import LocalizerClient
from serving.client.measurement import check_measurement, write_measurement
from serving.server_process import PATIENCE_S, server_process
from tfds_shards.inputs import INPUTS, scene_batch
from tfds_shards.scene_sets import scene_set
from tfds_shards.simulator import Scene, simulate_scene

MODEL_NAME = "ris_localizer"
_FIRST_FRESH_INDEX = 1_000_000  # beyond any stored split


def _show(
    scenes: list[Scene], truth: Sources, outputs: dict[str, np.ndarray], scenario: Scenario, logger: logging.Logger
) -> None:
    table = match_sources(truth, found_sources(outputs))
    hits = table.hits(metrics_config(scenario).standard_gate)
    for number, scene in enumerate(scenes):
        found = int(outputs["num_sources"][number])
        in_scene = int(hits[table.scene == number].sum())
        counts = f"{scene.num_sources} sources, {found} found, {in_scene} hits"
        logger.info(f"scene {number}: SNR {scene.snr_db:.1f} dB, {counts}")
        for slot in range(scene.num_sources):
            azimuth, elevation = np.degrees(scene.azimuth[slot]), np.degrees(scene.elevation[slot])
            logger.info(f"   true   {azimuth:7.2f} deg {elevation:7.2f} deg {scene.range_m[slot]:6.2f} m")
        shown = [outputs[key][number, :found] for key in ("azimuth_deg", "elevation_deg", "range_m", "score")]
        for azimuth, elevation, range_m, score in zip(*shown, strict=True):
            logger.info(f"   found  {azimuth:7.2f} deg {elevation:7.2f} deg {range_m:6.2f} m   score {score:.2f}")


def locate(options: LocateOptions, logger: logging.Logger) -> None:
    """Simulates scenes, sends them to a server, and logs true and found sources."""
    config = scene_set(options.config).config
    scenes = [simulate_scene(config, "test", _FIRST_FRESH_INDEX + number) for number in range(options.scenes)]
    batch = scene_batch(scenes, config.phase_bits)
    measurement = check_measurement({name: batch[name] for name in INPUTS})
    write_measurement(options.output, measurement)
    flags = (f"--model_name={MODEL_NAME}", f"--model_base_path={options.model_base_path.absolute()}")
    with server_process(*flags) as server:
        logger.info(server.lines[0].strip())
        with LocalizerClient(server.target, MODEL_NAME, timeout_s=PATIENCE_S) as client:
            client.check(measurement)
            started = time.monotonic()
            outputs = client.predict(measurement.inputs(0, len(measurement))).outputs
        logger.info(f"{len(measurement)} scenes over gRPC in {time.monotonic() - started:.1f} s, tracing included")
    _show(scenes, true_sources(batch), outputs, config.scenario, logger)
