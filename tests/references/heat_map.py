"""Slow references for heat maps, with loops over scenes, cells and sources, in float64."""

import itertools
import math

import numpy as np


def focal_loss(presence: np.ndarray, target: np.ndarray) -> float:
    """Equation 1 of Zhou et al., arXiv 1904.07850, with alpha 2 and beta 4; probabilities and targets of one scene."""
    total, sources = 0.0, 0
    for p, y in zip(presence.ravel(), target.ravel(), strict=True):
        if y == 1.0:
            total -= (1.0 - p) ** 2 * math.log(p)
            sources += 1
        else:
            total -= (1.0 - y) ** 4 * p**2 * math.log(1.0 - p)
    return total / max(sources, 1)


def maxima(volume: np.ndarray) -> list[tuple[int, int, int]]:
    """Local maxima over all adjacent cells, including diagonal ones; highest first."""
    found = []
    for cell in itertools.product(*(range(size) for size in volume.shape)):
        around = tuple(slice(max(index - 1, 0), index + 2) for index in cell)
        if volume[cell] >= volume[around].max():
            found.append(cell)
    return sorted(found, key=lambda cell: -volume[cell])


def trusted(volume: np.ndarray, level: float, max_share: float, max_peaks: int) -> bool:
    """True if a volume is finite and neither flat, saturated nor crowded above the level."""
    if not np.all(np.isfinite(volume)) or volume.max() <= level:
        return False
    tall = [cell for cell in maxima(volume) if volume[cell] > level]
    return np.mean(volume > level) <= max_share and len(tall) <= max_peaks


def pooled(volume: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Maximum and mean over the block of fine cells in each coarse cell, [*shape, 2]."""
    ratio = [fine // coarse for fine, coarse in zip(volume.shape, shape, strict=True)]
    out = np.zeros((*shape, 2))
    for cell in itertools.product(*(range(size) for size in shape)):
        block = volume[tuple(slice(index * r, (index + 1) * r) for index, r in zip(cell, ratio, strict=True))]
        out[cell] = block.max(), block.mean()
    return out
