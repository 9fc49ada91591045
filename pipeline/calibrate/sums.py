"""Sums of statistics over scenes; they take the same memory for any number of scenes."""

import dataclasses
from collections.abc import Iterable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Sums:
    """Statistics of scenes at one element response g, added up; `pipeline.calibrate.statistics` has the formulas.

    scenes: number of scenes; not an integer if earlier scenes are weighted down.
    nll: negative log-likelihood.
    score: z of (Re g, Im g), [2N] float64.
    information: J, [2N, 2N] float64.
    complete: T of the expectation step, [N, N] complex128.
    """

    scenes: float
    nll: float
    score: np.ndarray
    information: np.ndarray
    complete: np.ndarray

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(*(getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)))

    def __mul__(self, weight: float) -> "Sums":
        return Sums(*(weight * getattr(self, f.name) for f in dataclasses.fields(self)))

    def moved(self, step: np.ndarray) -> "Sums":
        """Returns the sums at g + step, by their quadratic approximation: z becomes z - J step."""
        return dataclasses.replace(
            self,
            score=self.score - self.information @ step,
            nll=self.nll - self.score @ step + 0.5 * step @ self.information @ step,
        )


def no_scenes(num_elements: int) -> Sums:
    """The empty sum."""
    size = 2 * num_elements
    return Sums(0.0, 0.0, np.zeros(size), np.zeros((size, size)), np.zeros((num_elements,) * 2, np.complex128))


def total(parts: Iterable[Sums], num_elements: int) -> Sums:
    """Adds up sums."""
    return sum(parts, no_scenes(num_elements))
