"""The phase codes that a surface steps through, stored as the integer settings of its phase shifters."""

import functools
import math
from typing import Literal

import numpy as np

from models.physics.geometry import RISArray

Codebook = Literal["dft", "random"]


def code_phase_index(
    rng: np.random.Generator, codebook: Codebook, array: RISArray, num_codes: int, phase_bits: int
) -> np.ndarray:
    """Returns the codes of one scene: phase indices, [L, N] uint8, of at most 8 `phase_bits`.

    Only "random" codes use `rng`. "dft" codes are read-only, because all scenes share the array.
    """
    if codebook == "random":
        return rng.integers(2**phase_bits, size=(num_codes, array.num_elements), dtype=np.uint8)
    return dft_phase_index(array, num_codes, phase_bits)


@functools.lru_cache(maxsize=16)
def dft_phase_index(array: RISArray, num_codes: int, phase_bits: int) -> np.ndarray:
    """Returns the first codes of a 2-D DFT codebook, quantised to the phase resolution: [L, N] uint8, read-only.

    The phase is 2 pi index / 2^phase_bits. Code l = bv B + bh is the Kronecker product

        exp(-2j pi bv iv / N_V) (x) exp(-2j pi bh ih / N_H)

    of the vertical bin bv and the horizontal bin bh, both counted from 0. There are B = ceil(sqrt(L)) horizontal bins,
    or more if the surface has fewer than B rows. If the elements do not form a lattice, each takes the phase of these
    plane waves at its own position; ih and iv are then distances from the lowest coordinates in units of d.
    """
    num_horizontal, num_vertical = array.lattice_shape
    bins = min(max(math.isqrt(num_codes - 1) + 1, math.ceil(num_codes / num_vertical)), num_horizontal)
    code = np.arange(num_codes)
    places = array.element_positions_m()
    places = (places - places.min(axis=0)) / array.spacing_m
    places = np.where(np.abs(places - np.rint(places)) < 1e-6, np.rint(places), places)  # no ties by rounding
    turns = -(
        np.outer(code // bins, places[:, 1]) / num_vertical + np.outer(code % bins, places[:, 0]) / num_horizontal
    )
    levels = 2**phase_bits
    index = np.mod(np.rint(levels * turns), levels).astype(np.uint8)
    index.flags.writeable = False
    return index


def code_phasors(phase_index: np.ndarray, phase_bits: int) -> np.ndarray:
    """Returns c = exp(2j pi index / 2^phase_bits), complex128, in the shape of `phase_index` (unsigned integers)."""
    return np.exp(2j * math.pi * np.arange(2**phase_bits) / 2**phase_bits)[phase_index]
