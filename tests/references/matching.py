"""Assignment and GOSPA from their definitions, by exhaustive search."""

import itertools
from collections.abc import Iterator

import numpy as np


def partial_assignments(num_true: int, num_found: int, size: int) -> Iterator[list[tuple[int, int]]]:
    """Every way to pair `size` of the true with `size` of the found sources."""
    for true in itertools.combinations(range(num_true), size):
        for found in itertools.permutations(range(num_found), size):
            yield list(zip(true, found, strict=True))


def best_assignment(true_position: np.ndarray, found_position: np.ndarray) -> list[tuple[int, int]]:
    """The pairs (true, found) with the smallest total distance, among all assignments with the most pairs.

    Args:
      true_position, found_position: [T, 3] and [F, 3], metres.
    """
    size = min(len(true_position), len(found_position))

    def total(pairs: list[tuple[int, int]]) -> float:
        return sum(float(np.linalg.norm(true_position[i] - found_position[j])) for i, j in pairs)

    return min(partial_assignments(len(true_position), len(found_position), size), key=total)


def gospa_definition(true_position: np.ndarray, found_position: np.ndarray, cutoff: float) -> float:
    """GOSPA with p = 2 and alpha = 2 from its definition, arXiv 1601.05585, equation 1.

    With |X| <= |Y|, the square root of the minimum over permutations pi of Y of
    sum_i min(d(x_i, y_pi(i)), c)^2 + c^2 / 2 (|Y| - |X|).
    """
    small, large = sorted((true_position, found_position), key=len)
    best = min(
        sum(min(float(np.linalg.norm(small[i] - large[j])), cutoff) ** 2 for i, j in pairs)
        for pairs in partial_assignments(len(small), len(large), len(small))
    )
    return (best + cutoff**2 / 2 * (len(large) - len(small))) ** 0.5
