"""How much the scenes tell, and how many it takes: the learning curve by halves.

Each part of the scenes, taken alone, gives a response of its own by the quadratic of its sums at the end of the search;
no pass is needed. Two halves are independent, so half their distance is the error of the whole, whatever the model of
that error says; a quarter against a quarter tells that of a half, and so on.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from pipeline.calibrate.solution import Prior, Solution, solve
from pipeline.calibrate.sums import Sums, total

ENOUGH_ERROR = 0.1
"""Error of g, rms over the elements, that costs the localizer nothing: as 0.1 rad of phase."""


@dataclasses.dataclass(frozen=True)
class LearningPoint:
    """What so many scenes give: the standard error that the information predicts, and the error that two such sets show
    by their difference, both rms over the elements that are not dead; NaN where there are no two."""

    scenes: float
    predicted: float
    shown: float


@dataclasses.dataclass(frozen=True)
class LearningCurve:
    """Points by rising number of scenes; the last one is all of them."""

    points: tuple[LearningPoint, ...]
    without: float
    """What would be off if nothing were calibrated: rms of g - 1 after a common factor."""

    @property
    def error(self) -> float:
        """Of the calibration: what its halves show, or what the information predicts where that is more."""
        last = self.points[-1]
        return last.predicted if math.isnan(last.shown) else max(last.predicted, last.shown)

    @property
    def scenes_needed(self) -> int:
        """For an error of `ENOUGH_ERROR`, which falls with the root of the number of scenes."""
        return math.ceil(self.points[-1].scenes * (self.error / ENOUGH_ERROR) ** 2)

    @property
    def telling(self) -> bool:
        """Whether the scenes tell more of g than they leave open."""
        return self.error < max(0.5 * self.without, 0.5 * ENOUGH_ERROR)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.abs(values) ** 2)))


def learning_curve(folds: Sequence[Sums], response: np.ndarray, prior: Prior, dead: np.ndarray) -> LearningCurve:
    """The curve of scenes in folds.

    Args:
      folds: sums at `response`, a power of two of them.
      response: g, [N] complex128, settled.
      prior: of the calibration.
      dead: elements that don't count, [N] bool.
    """
    alive = ~dead
    points: list[LearningPoint] = []
    smaller: list[Solution] = []
    part = 1
    while part <= len(folds):
        groups = [total(folds[start : start + part], response.size) for start in range(0, len(folds), part)]
        solutions = [solve(group, response, prior, adapt=False) for group in groups]
        shown = [
            0.5 * _rms((one.response - other.response)[alive])
            for one, other in zip(smaller[::2], smaller[1::2], strict=True)
        ]
        points.append(
            LearningPoint(
                float(np.mean([group.scenes for group in groups])),
                float(np.mean([_rms(solution.deviation[alive]) for solution in solutions])),
                float(np.mean(shown)) if shown else math.nan,
            )
        )
        smaller, part = solutions, 2 * part
    centred = response - np.mean(response.real)
    return LearningCurve(tuple(points), _rms(centred[alive]))
