"""Candidates that noise alone can't explain: what Stage 2 goes on for, and what its best is worth.

Noise is the choice of scenes, by a paired bootstrap, and the seed of a training, by how the trainings of one candidate
differ. That difference is measured on the scenes at hand and so holds a part of theirs: noise is rather too large.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pipeline.metrics.match_counts import Difference, MatchCounts, percentile_interval, resample_weights

_ROUNDING = 1e-9  # of an objective: candidates that are the same have a spread of this size, not of zero

Trainings = Sequence[MatchCounts]
"""Counts by scene of one candidate, one a seed."""


def _objectives(trainings: Trainings) -> np.ndarray:
    return np.array([tally.total().objective for tally in trainings])


def _mean_resampled(trainings: Trainings, weights: np.ndarray) -> np.ndarray:
    return np.mean([tally.resampled(weights).objective for tally in trainings], axis=0)


def seed_noise(objectives: np.ndarray, candidates: int, resamples: int, seed: int) -> np.ndarray:
    """Draws of what seeds do to a candidate's mean over seeds: [candidates, resamples].

    The variance within candidates, pooled, is known from few trainings: each resample draws it, too, by its chi-square.

    Args:
      objectives: of candidates' trainings, [C, S]; with one seed nothing is known and all draws are zero.
      candidates: how many draws a resample takes, all of one variance.
      resamples, seed: of the draws.
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
    """How candidates' objectives differ, against how they would differ by scenes and seeds alone.

    spread: standard deviation of the objective over candidates. noise: that spread's upper quantile were all candidates
    alike. candidates, seeds: how many, and the trainings of each.
    """

    spread: float
    noise: float
    candidates: int
    seeds: int

    @property
    def told_apart(self) -> bool:
        return self.spread > self.noise + _ROUNDING

    def __str__(self) -> str:
        comparison = "above" if self.told_apart else "not above"
        of_what = "scenes" if self.seeds == 1 else f"scenes and {self.seeds} seeds"
        return (
            f"{self.candidates} candidates: spread of the objective {self.spread:.4f}, {comparison} the "
            f"{self.noise:.4f} that noise of {of_what} alone gives"
        )


def separation(
    candidates: Sequence[Trainings], *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Separation:
    """Paired bootstrap over scenes: every resample holds the same scenes for all candidates; and draws of the seeds.

    With J_c the objective of candidate c, the mean over its seeds, J_c* that of a resample and e_c a draw of
    `seed_noise`, spread = sd_c(J_c), and sd_c(J_c* - J_c + e_c) is what the choice of scenes and seeds does to
    candidates that are alike; noise is its quantile at `confidence`.

    Args:
      candidates: two or more on the same scenes, each with as many trainings.
      resamples, confidence, seed: of the bootstrap.

    Raises:
      ValueError: fewer than two candidates, or other scenes.
    """
    every = [tally for trainings in candidates for tally in trainings]
    if len(candidates) < 2 or any(not np.array_equal(tally.true, every[0].true) for tally in every):
        raise ValueError("separation: expected two candidates or more on the same scenes")
    weights = resample_weights(every[0].true.size, resamples, seed)
    observed = np.stack([_objectives(trainings) for trainings in candidates])
    means = observed.mean(axis=1)
    resampled = np.stack([_mean_resampled(trainings, weights) for trainings in candidates])
    alike = resampled - means[:, None] + seed_noise(observed, len(candidates), resamples, seed)
    noise = np.quantile(np.std(alike, axis=0, ddof=1), confidence)
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
    """The objective of one candidate minus the defaults', means over seeds, with an interval for scenes and seeds.

    Args:
      best, defaults: on the same scenes, with as many trainings.
      others: objectives of further candidates' trainings, which tell what seeds do, too.
      resamples, confidence, seed: of the bootstrap.

    Raises:
      ValueError: other scenes.
    """
    if any(not np.array_equal(tally.true, best[0].true) for tally in (*best, *defaults)):
        raise ValueError("best minus defaults: expected both on the same scenes")
    weights = resample_weights(best[0].true.size, resamples, seed)
    objectives = np.array([_objectives(best), _objectives(defaults), *others])
    noise = seed_noise(objectives, 2, resamples, seed)
    samples = _mean_resampled(best, weights) - _mean_resampled(defaults, weights) + noise[0] - noise[1]
    observed = float(objectives[0].mean() - objectives[1].mean())
    return Difference(observed, percentile_interval(samples, confidence))
