"""Simulated scenes as the batch an estimator gets, truth beside it."""

import dataclasses

import numpy as np

from models.physics.geometry import Scenario
from tfds_shards.codebook import code_phasors
from tfds_shards.simulator import CONFIGS, SceneConfig, simulate_scene

INPUTS = ("snapshots", "ris_codes", "channel", "snr_db")


def batch_of(num_scenes: int, config: SceneConfig = CONFIGS["l64_m64"], first: int = 0) -> dict[str, np.ndarray]:
    """The first test scenes of a config."""
    scenes = [simulate_scene(config, "test", first + number) for number in range(num_scenes)]
    truth = ("snapshots", "channel", "azimuth", "elevation", "range_m", "power")
    codes = [code_phasors(scene.code_phase_index, config.phase_bits) for scene in scenes]
    return {name: np.stack([getattr(scene, name) for scene in scenes]) for name in truth} | {
        "ris_codes": np.stack(codes).astype(np.complex64),
        "snr_db": np.array([scene.snr_db for scene in scenes], np.float32),
        "num_sources": np.array([scene.num_sources for scene in scenes], np.int32),
    }


def inputs_of(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the model is told of a batch."""
    return {name: batch[name] for name in INPUTS}


def loud(num_sources: int = 2, snr_db: float = 25.0) -> SceneConfig:
    """l64_m64 with a fixed SNR and at most that many sources."""
    return dataclasses.replace(
        CONFIGS["l64_m64"], name="loud", snr_db=(snr_db, snr_db), scenario=Scenario(max_sources=num_sources)
    )
