"""Simulated scenes as a model server takes them."""

import numpy as np

from models.physics.geometry import Scenario
from tfds_shards.codebook import code_phasors
from tfds_shards.simulator import SceneConfig, simulate_scene


def simulated_inputs(scenario: Scenario, num_scenes: int) -> dict[str, np.ndarray]:
    """Simulated scenes as inputs of `serving_default`.

    Args:
      scenario: the installation.
      num_scenes: B.

    Returns:
      snapshots [B, 64, M], ris_codes [B, 64, N], channel [B, M, N] complex64; snr_db [B] float32, dB.
    """
    config = SceneConfig("warmup", scenario, codebook="random")
    scenes = [simulate_scene(config, "test", number) for number in range(num_scenes)]
    codes = [code_phasors(scene.code_phase_index, config.phase_bits) for scene in scenes]
    return {
        "snapshots": np.stack([scene.snapshots for scene in scenes]),
        "ris_codes": np.stack(codes).astype(np.complex64),
        "channel": np.stack([scene.channel for scene in scenes]),
        "snr_db": np.array([scene.snr_db for scene in scenes], np.float32),
    }
