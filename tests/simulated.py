"""Simulated scenes as the batch an estimator gets, truth beside it."""

import dataclasses

import numpy as np

from models.physics.geometry import Scenario
from tfds_shards.inputs import scene_batch
from tfds_shards.simulator import CONFIGS, SceneConfig, simulate_scene

INPUTS = ("snapshots", "ris_codes", "channel", "snr_db")


def batch_of(num_scenes: int, config: SceneConfig = CONFIGS["l64_m64"], first: int = 0) -> dict[str, np.ndarray]:
    """The first test scenes of a config."""
    scenes = [simulate_scene(config, "test", first + number) for number in range(num_scenes)]
    return scene_batch(scenes, config.phase_bits)


def inputs_of(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the model is told of a batch."""
    return {name: batch[name] for name in INPUTS}


def loud(num_sources: int = 2, snr_db: float = 25.0) -> SceneConfig:
    """l64_m64 with a fixed SNR and at most that many sources."""
    return dataclasses.replace(
        CONFIGS["l64_m64"], name="loud", snr_db=(snr_db, snr_db), scenario=Scenario(max_sources=num_sources)
    )
