"""The results of a study as rows and statistics."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras_tuner as kt
import numpy as np
from keras_tuner.engine.trial import TrialStatus
from scipy import stats
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance

from pipeline.tune.trial import Outcome, Trials, mean_outcome, own_values

_LEAST_TRIALS = 5
_ROUNDING = 1e-6  # smaller differences of scores count as equal
_TIMES = ("seconds", "surrogate_ms", "objective_ms")


@dataclasses.dataclass(frozen=True)
class Row:
    """A trial: its number, its values and one outcome per seed; no outcome if it failed."""

    number: int
    values: dict[str, Any]
    outcomes: tuple[Outcome, ...]

    @property
    def outcome(self) -> Outcome | None:
        """The mean over the seeds; None for a failed trial."""
        return mean_outcome(self.outcomes) if self.outcomes else None


def rows(oracle: kt.Oracle, trials: Trials, scenes: int, seeds: int = 1) -> list[Row]:
    """The trials that ended, in the order of their creation."""
    found = []
    for trial_id in (each for each in oracle.start_order if each in oracle.end_order):
        trial = oracle.trials[trial_id]
        values, epochs = own_values(trial.hyperparameters.values), trial.hyperparameters.values.get("tuner/epochs")
        completed = trial.status == TrialStatus.COMPLETED
        found.append(Row(int(trial_id), values, trials.run_all(values, scenes, seeds, epochs) if completed else ()))
    return found


def table(found: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows for a JSON file, without durations, so that it depends on the seed only."""
    return [
        {
            "trial": row.number,
            "values": row.values,
            "outcome": row.outcome
            and {key: value for key, value in dataclasses.asdict(row.outcome).items() if key not in _TIMES},
            "objectives": [outcome.objective for outcome in row.outcomes],
        }
        for row in found
    ]


@dataclasses.dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho with its 95 % interval; NaN with fewer than 5 pairs or if one side is constant."""

    rho: float
    interval: tuple[float, float]
    pairs: int

    def __str__(self) -> str:
        low, high = self.interval
        return f"Spearman's rho {self.rho:.2f} [{low:.2f}, {high:.2f}] over {self.pairs} configurations"


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> RankCorrelation:
    """Spearman's rho with the interval of Bonett and Wright (2000): Fisher's z, variance (1 + rho^2 / 2) / (n - 3)."""
    nan = math.nan
    if len(first) < _LEAST_TRIALS or min(np.ptp(first), np.ptp(second)) < _ROUNDING:
        return RankCorrelation(nan, (nan, nan), len(first))
    rho = float(stats.spearmanr(first, second).statistic)
    deviation = math.sqrt((1.0 + rho**2 / 2.0) / (len(first) - 3))
    z = math.atanh(max(-0.999999, min(0.999999, rho)))
    low, high = (math.tanh(z + sign * 1.96 * deviation) for sign in (-1.0, 1.0))
    return RankCorrelation(rho, (low, high), len(first))


def surrogate_against_objective(found: Sequence[Row]) -> RankCorrelation:
    """Rank correlation of the surrogate with MVDR-final over the completed trials."""
    outcomes = [row.outcome for row in found if row.outcome is not None]
    return rank_correlation([o.surrogate for o in outcomes], [o.objective for o in outcomes])


def cost(found: Sequence[Row]) -> str:
    """A sentence on the CPU time of the surrogate and of MVDR-final, medians over the trials."""
    known = [
        (row.outcome.surrogate_ms, row.outcome.objective_ms)
        for row in found
        if row.outcome is not None and row.outcome.surrogate_ms is not None and row.outcome.objective_ms is not None
    ]
    if not known:
        return "the cost of the surrogate was not measured: too few scenes or epochs"
    surrogate_ms, objective_ms = np.median(known, axis=0)
    return (
        f"the surrogate takes {surrogate_ms:.1f} ms of CPU time a scene, MVDR-final {objective_ms:.1f}: "
        f"{surrogate_ms / objective_ms:.2f} of it"
    )


def importances(found: Sequence[Row]) -> dict[str, float]:
    """The share of each hyperparameter in the variation of the surrogate, most important first.

    Permutation importance of a random forest that is fitted to the trials; empty with fewer than 5 trials.
    """
    done = [row for row in found if row.outcome is not None]
    if len(done) < _LEAST_TRIALS:
        return {}
    names = sorted(done[0].values)
    inputs = np.array([[float(row.values[name]) for name in names] for row in done])
    scores = np.array([row.outcome.surrogate for row in done if row.outcome is not None])
    forest = RandomForestRegressor(n_estimators=200, random_state=0).fit(inputs, scores)
    lost = permutation_importance(forest, inputs, scores, n_repeats=20, random_state=0).importances_mean.clip(0.0)
    shares = lost / max(lost.sum(), 1e-12)
    return dict(sorted(zip(names, shares.tolist(), strict=True), key=lambda item: -item[1]))
