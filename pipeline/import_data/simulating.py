"""Simulates snapshots for channels from a ray tracer, with the codes, symbols and noise of the simulator."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.physics.geometry import RISArray
from pipeline.import_data.adapter_config import Simulation
from tfds_shards.codebook import code_phase_index, code_phasors
from tfds_shards.reception import received
from tfds_shards.sources import Transmission, complex_normal


def simulate(
    channel: np.ndarray, responses: Sequence[np.ndarray], array: RISArray, config: Simulation
) -> dict[str, np.ndarray]:
    """Simulates one scene for each set of sources; returns the arrays of a measurement file.

    Args:
      channel: H, [M, N] complex.
      responses: for each scene, the field of each source at the elements, [K, N] complex.
      array: the surface, for its codebook.
      config: settings of the simulation.
    """
    if config.codebook == "dft" and config.snapshots > array.num_elements:
        raise ValueError(f"simulate.snapshots: expected at most {array.num_elements} DFT codes, got {config.snapshots}")
    if not channel.any():
        raise ValueError("channel: expected paths between surface and base station, got none")
    transmission = Transmission(symbols=config.symbols)
    found: dict[str, list[Any]] = {"snapshots": [], "ris_codes": [], "snr_db": []}
    for number, vectors in enumerate(responses):
        if not vectors.any(axis=-1).all():
            source = int(np.argmin(vectors.any(axis=-1)))
            raise ValueError(f"sources: expected paths to the surface of source {source} of scene {number}, got none")
        rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(number,)))
        snr_db = np.float32(rng.uniform(config.snr_db[0], config.snr_db[1]))
        index = code_phase_index(rng, config.codebook, array, config.snapshots, config.phase_bits)
        codes = code_phasors(index, config.phase_bits)
        symbols = transmission.draw_symbols(rng, config.snapshots, len(vectors))
        noise = complex_normal(rng, (config.snapshots, len(channel)))
        found["snapshots"].append(received(symbols, vectors, codes, channel, float(snr_db), noise))
        found["ris_codes"].append(codes.astype(np.complex64))
        found["snr_db"].append(snr_db)
    return {name: np.stack(values) for name, values in found.items()} | {"channel": channel.astype(np.complex64)}
