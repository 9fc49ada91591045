"""The learning curve: how the error of the response falls with the number of scenes, and how many scenes are needed.

Every subset of the scenes gives its own response, from the quadratic approximation of its sums at the end of the
search. This needs no further pass over the scenes. Two halves are independent, so half their difference estimates the
error of the whole set without relying on the error model. Likewise two quarters estimate the error of a half, and so
on.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from pipeline.calibrate.solution import Prior, Solution, solve
from pipeline.calibrate.sums import Sums, total

ENOUGH_ERROR = 0.1
"""Error of g, rms over the elements, below which the localizer loses no accuracy; it equals 0.1 rad of phase."""


@dataclasses.dataclass(frozen=True)
class LearningPoint:
    """Errors of the response from subsets of one size, rms over the elements that are not dead.

    scenes: number of scenes in a subset.
    predicted: standard error that the Fisher information predicts.
    observed: error estimated from the difference of two smaller subsets; NaN for the smallest size.
    """

    scenes: float
    predicted: float
    observed: float


@dataclasses.dataclass(frozen=True)
class LearningCurve:
    """Points by rising number of scenes; the last point uses all scenes."""

    points: tuple[LearningPoint, ...]
    uncalibrated_error: float
    """Error without a calibration: rms of g - 1 after removing a common factor."""

    @property
    def error(self) -> float:
        """Error of the calibration: the larger one of the observed and the predicted error."""
        last = self.points[-1]
        return last.predicted if math.isnan(last.observed) else max(last.predicted, last.observed)

    @property
    def scenes_needed(self) -> int:
        """Scenes for an error of `ENOUGH_ERROR`; the error falls with the square root of the number of scenes."""
        return math.ceil(self.points[-1].scenes * (self.error / ENOUGH_ERROR) ** 2)

    @property
    def is_informative(self) -> bool:
        """Whether the calibration at least halves the error, or its own error is small enough."""
        return self.error < max(0.5 * self.uncalibrated_error, 0.5 * ENOUGH_ERROR)


def rms(values: np.ndarray) -> float:
    """Root mean square of the magnitudes."""
    return float(np.sqrt(np.mean(np.abs(values) ** 2)))


def learning_curve(folds: Sequence[Sums], response: np.ndarray, prior: Prior, dead: np.ndarray) -> LearningCurve:
    """The learning curve from the sums of each fold at `response`, which is g, [N] complex128, normalized. The
    number of folds is a power of two. Elements that are `dead`, [N] bool, are left out."""
    alive = ~dead
    points: list[LearningPoint] = []
    smaller: list[Solution] = []
    part = 1
    while part <= len(folds):
        groups = [total(folds[start : start + part], response.size) for start in range(0, len(folds), part)]
        solutions = [solve(group, response, prior, adapt=False) for group in groups]
        pairs = zip(smaller[::2], smaller[1::2], strict=True)
        observed = [0.5 * rms((one.response - other.response)[alive]) for one, other in pairs] or [math.nan]
        predicted = [rms(solution.deviation[alive]) for solution in solutions]
        values = ([group.scenes for group in groups], predicted, observed)
        points.append(LearningPoint(*(float(np.mean(value)) for value in values)))
        smaller, part = solutions, 2 * part
    centred = response - np.mean(response.real)
    return LearningCurve(tuple(points), rms(centred[alive]))
