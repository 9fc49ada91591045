"""Tests whether candidates differ by more than noise, and compares the best one with the defaults.

Noise has two sources: the choice of scenes, estimated by a paired bootstrap, and the seeds of the trainings, estimated
from the differences between trainings of one candidate. These differences are measured on the given scenes and include
a part of the first source, so the noise is overestimated rather than underestimated.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pipeline.metrics.match_counts import Difference, MatchCounts, percentile_interval, resample_weights

_ROUNDING = 1e-9  # of an objective: the spread of identical candidates is of this size, not zero

Trainings = Sequence[MatchCounts]
"""Counts per scene of one candidate, one tally per seed."""


def _objectives(trainings: Trainings) -> np.ndarray:
    return np.array([tally.total().objective for tally in trainings])


def _mean_resampled(trainings: Trainings, weights: np.ndarray) -> np.ndarray:
    return np.mean([tally.resampled(weights).objective for tally in trainings], axis=0)


def seed_noise(objectives: np.ndarray, candidates: int, resamples: int, seed: int) -> np.ndarray:
    """Draws the effect of the seeds on the mean objective of a candidate: [candidates, resamples].

    The variance within the C candidates of `objectives` [C, S], with S trainings each, is pooled. It is known from few
    trainings only, so each resample draws it from its chi-square distribution. With one seed all draws are 0.
    """
    count, seeds = objectives.shape
    if seeds == 1:
        return np.zeros((candidates, resamples))
    rng, freedom = np.random.default_rng(seed), count * (seeds - 1)
    pooled = float(np.mean(np.var(objectives, axis=1, ddof=1)))
    variance = pooled * freedom / rng.chisquare(freedom, resamples)
    return rng.standard_normal((candidates, resamples)) * np.sqrt(variance / seeds)


@dataclasses.dataclass(frozen=True)
class Separation:
    """The spread of the candidates' objectives, and the spread that scenes and seeds alone would cause.

    spread: standard deviation over the candidates. noise: upper quantile of the spread of equally good candidates.
    seeds: number of trainings of each.
    """

    spread: float
    noise: float
    candidates: int
    seeds: int

    @property
    def exceeds_noise(self) -> bool:
        """True if noise alone does not explain the spread."""
        return self.spread > self.noise + _ROUNDING

    def __str__(self) -> str:
        comparison = "above" if self.exceeds_noise else "not above"
        source = "scenes" if self.seeds == 1 else f"scenes and {self.seeds} seeds"
        return (
            f"{self.candidates} candidates: spread of the objective {self.spread:.4f}, {comparison} the "
            f"{self.noise:.4f} that noise of {source} alone gives"
        )


def separation(
    candidates: Sequence[Trainings], *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Separation:
    """Compares the spread of the candidates with that of noise, by a paired bootstrap over scenes and draws of seeds.

    Every resample holds the same scenes for all candidates. J_c is the mean objective of candidate c over its seeds,
    J_c* that of a resample, and e_c a draw of `seed_noise`. Then spread = sd_c(J_c). The spread of equally good
    candidates is sd_c(J_c* - J_c + e_c), and noise is its quantile at `confidence`.
    """
    every = [tally for trainings in candidates for tally in trainings]
    if len(candidates) < 2 or any(not np.array_equal(tally.true, every[0].true) for tally in every):
        raise ValueError("separation: expected two candidates or more on the same scenes")
    weights = resample_weights(every[0].true.size, resamples, seed)
    observed = np.stack([_objectives(trainings) for trainings in candidates])
    means = observed.mean(axis=1)
    resampled = np.stack([_mean_resampled(trainings, weights) for trainings in candidates])
    equal = resampled - means[:, None] + seed_noise(observed, len(candidates), resamples, seed)
    noise = np.quantile(np.std(equal, axis=0, ddof=1), confidence)
    return Separation(float(np.std(means, ddof=1)), float(noise), *observed.shape)


def best_minus_defaults(
    best: Trainings,
    defaults: Trainings,
    others: Sequence[Sequence[float]],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """The objective of a candidate minus that of the defaults, means over seeds, with an interval for scenes and seeds.

    Both are scored on the same scenes, with the same number of trainings. `others`, the objectives of the trainings of
    further candidates, improve the estimate of the seeds' variance.
    """
    if any(not np.array_equal(tally.true, best[0].true) for tally in (*best, *defaults)):
        raise ValueError("best minus defaults: expected both on the same scenes")
    weights = resample_weights(best[0].true.size, resamples, seed)
    objectives = np.array([_objectives(best), _objectives(defaults), *others])
    noise = seed_noise(objectives, 2, resamples, seed)
    samples = _mean_resampled(best, weights) - _mean_resampled(defaults, weights) + noise[0] - noise[1]
    observed = float(objectives[0].mean() - objectives[1].mean())
    return Difference(observed, percentile_interval(samples, confidence))
