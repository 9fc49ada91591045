"""Candidates that noise alone can't explain: what Stage 2 goes on for."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.tally import Tally, resample_weights

_ROUNDING = 1e-9  # of an objective: candidates that are the same have a spread of this size, not of zero


@dataclasses.dataclass(frozen=True)
class Separation:
    """How candidates' objectives differ, against how they would differ by the choice of scenes alone.

    spread: standard deviation of the objective over candidates. noise: that spread's upper quantile were all candidates
    alike. candidates: how many.
    """

    spread: float
    noise: float
    candidates: int

    @property
    def told_apart(self) -> bool:
        return self.spread > self.noise + _ROUNDING

    def __str__(self) -> str:
        comparison = "above" if self.told_apart else "not above"
        return (
            f"{self.candidates} candidates: spread of the objective {self.spread:.4f}, {comparison} the "
            f"{self.noise:.4f} that bootstrap noise alone gives"
        )


def separation(
    tallies: Sequence[Tally], *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Separation:
    """Paired bootstrap over scenes: every resample holds the same scenes for all candidates.

    With J_c the objective of candidate c and J_c* that of a resample, spread = sd_c(J_c), and sd_c(J_c* - J_c) is what
    the choice of scenes does to candidates that are alike; noise is its quantile at `confidence`.

    Args:
      tallies: counts per scene of two candidates or more on the same scenes.
      resamples, confidence, seed: of the bootstrap.

    Raises:
      ValueError: fewer than two candidates, or other scenes.
    """
    if len(tallies) < 2 or any(not np.array_equal(tally.true, tallies[0].true) for tally in tallies):
        raise ValueError("separation: expected two candidates or more on the same scenes")
    weights = resample_weights(tallies[0].true.size, resamples, seed)
    observed = np.array([tally.total().objective for tally in tallies])
    resampled = np.array([tally.resampled(weights).objective for tally in tallies])
    alike = np.std(resampled - observed[:, None], axis=0, ddof=1)
    return Separation(float(np.std(observed, ddof=1)), float(np.quantile(alike, confidence)), len(tallies))
