"""The phase codes a surface steps through, kept as the integers its phase shifters take."""

import functools
import math
from typing import Literal

import numpy as np

from models.physics.geometry import RISArray

Codebook = Literal["dft", "random"]


def code_phase_index(
    rng: np.random.Generator, codebook: Codebook, array: RISArray, num_codes: int, phase_bits: int
) -> np.ndarray:
    """One scene's codes.

    Args:
      rng: where "random" codes are drawn from; "dft" draws nothing.
      codebook: "dft" or "random".
      array: the surface.
      num_codes: L.
      phase_bits: bits an element; at most 8.

    Returns:
      [L, N] uint8, read only where all scenes share it.
    """
    if codebook == "random":
        return rng.integers(2**phase_bits, size=(num_codes, array.num_elements), dtype=np.uint8)
    return dft_phase_index(array, num_codes, phase_bits)


@functools.lru_cache(maxsize=16)
def dft_phase_index(array: RISArray, num_codes: int, phase_bits: int) -> np.ndarray:
    """The first codes of a 2-D DFT codebook, quantised: code l = bv B + bh is the Kronecker product

        exp(-2j pi bv iv / N_V) (x) exp(-2j pi bh ih / N_H)

    of the vertical bin bv and the horizontal bin bh, with B = ceil(sqrt(L)) horizontal bins counted from 0
    (or as many as it takes where the surface has fewer than B rows). Elements that lie on no lattice have the phases of
    these plane waves where they are, ih and iv counted in d from the first.

    Returns:
      [num_codes, N] uint8, read only.
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
    """c = exp(2j pi index / 2^phase_bits), complex128, of the same shape."""
    return np.exp(2j * math.pi * np.arange(2**phase_bits) / 2**phase_bits)[phase_index]
