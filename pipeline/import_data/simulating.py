"""Snapshots of channels that an adapter read: the simulator's codes, symbols, noise and sum."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.physics.geometry import RISArray
from pipeline.import_data.adapter_config import Simulation
from tfds_shards.codebook import code_phase_index, code_phasors
from tfds_shards.reception import received
from tfds_shards.sources import Transmission, complex_normal


def simulate(
    channel: np.ndarray, responses: Sequence[np.ndarray], array: RISArray, told: Simulation
) -> dict[str, np.ndarray]:
    """A scene for each set of sources.

    Args:
      channel: H, [M, N].
      responses: what each source of a scene brings to the elements, [K, N] a scene.
      array: the surface, for its codebook.
      told: how to draw.

    Returns:
      The arrays of a measurement file.

    Raises:
      ValueError: a codebook with fewer codes than snapshots, or a source or channel that no path leads to.
    """
    if told.codebook == "dft" and told.snapshots > array.num_elements:
        raise ValueError(f"simulate.snapshots: expected at most {array.num_elements} DFT codes, got {told.snapshots}")
    if not channel.any():
        raise ValueError("channel: expected paths between surface and base station, got none")
    transmission = Transmission(symbols=told.symbols)
    found: dict[str, list[Any]] = {"snapshots": [], "ris_codes": [], "snr_db": []}
    for number, vectors in enumerate(responses):
        if not vectors.any(axis=-1).all():
            source = int(np.argmin(vectors.any(axis=-1)))
            raise ValueError(f"sources: expected paths to the surface of source {source} of scene {number}, got none")
        rng = np.random.default_rng(np.random.SeedSequence(told.seed, spawn_key=(number,)))
        snr_db = np.float32(rng.uniform(told.snr_db[0], told.snr_db[1]))
        index = code_phase_index(rng, told.codebook, array, told.snapshots, told.phase_bits)
        codes = code_phasors(index, told.phase_bits)
        symbols = transmission.draw_symbols(rng, told.snapshots, len(vectors))
        noise = complex_normal(rng, (told.snapshots, len(channel)))
        found["snapshots"].append(received(symbols, vectors, codes, channel, float(snr_db), noise))
        found["ris_codes"].append(codes.astype(np.complex64))
        found["snr_db"].append(snr_db)
    return {name: np.stack(values) for name, values in found.items()} | {"channel": channel.astype(np.complex64)}
