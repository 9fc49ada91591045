"""Simulated scenes as batches of model inputs."""

from collections.abc import Sequence

import numpy as np

from models.physics.geometry import Scenario
from tfds_shards.codebook import code_phasors
from tfds_shards.simulator import Scene, SceneConfig, simulate_scene

_STACKED = ("snapshots", "channel", "azimuth", "elevation", "range_m", "power")
INPUTS = ("snapshots", "ris_codes", "channel", "snr_db")
"""The inputs of the model in a batch of `scene_batch`; the other arrays are the ground truth."""


def scene_batch(scenes: Sequence[Scene], phase_bits: int) -> dict[str, np.ndarray]:
    """Stacks scenes of equal shapes into a batch with the inputs of an estimator and the ground truth.

    Returns:
      Inputs: snapshots [B, L, M], ris_codes [B, L, N], channel [B, M, N] complex64; snr_db [B] float32, dB. Truth:
        num_sources [B] int32; azimuth, elevation (radians), range_m (metres), power (p_k) [B, K_max] float32.
    """
    codes = [code_phasors(scene.code_phase_index, phase_bits) for scene in scenes]
    return {name: np.stack([getattr(scene, name) for scene in scenes]) for name in _STACKED} | {
        "ris_codes": np.stack(codes).astype(np.complex64),
        "snr_db": np.array([scene.snr_db for scene in scenes], np.float32),
        "num_sources": np.array([scene.num_sources for scene in scenes], np.int32),
    }


def simulated_inputs(scenario: Scenario, num_scenes: int) -> dict[str, np.ndarray]:
    """Simulates B scenes of L = 64 snapshots as inputs of the signature `serving_default`, see `INPUTS`."""
    config = SceneConfig("warmup", scenario, codebook="random")
    batch = scene_batch([simulate_scene(config, "test", number) for number in range(num_scenes)], config.phase_bits)
    return {name: batch[name] for name in INPUTS}
