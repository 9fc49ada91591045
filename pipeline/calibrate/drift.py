"""Tests whether a stored calibration is still valid: a score test with a given false-alarm rate.

At the stored g every scene i has an efficient score z_i (`pipeline.calibrate.statistics`) with mean J_i (g_true - g).
Drift is the part that all scenes share. The statistic
    Q = |sum_i z_i|^2 - sum_i |z_i|^2 = sum over pairs i != j of z_i . z_j
has mean zero without drift, whatever the spread of single scores, and is the locally most powerful one against small
independent errors of the elements. Its distribution without drift is simulated rather than assumed. The signs of the
scores are flipped at random, which leaves symmetric distributions unchanged (Fisher 1935). J d is added, where
d ~ N(0, C) and C is the covariance of the stored g, because the stored g is itself an estimate.
"""

import dataclasses

import numpy as np

from pipeline.calibrate.options import DriftConfig
from pipeline.calibrate.solution import across_gauge

LEAST_SCENES = 8
"""Smallest number of scenes; fewer give too few combinations of signs."""


@dataclasses.dataclass(frozen=True)
class DriftVerdict:
    """Result of the test. p_value: probability of such scores without drift. drifted: whether it is at most the
    false-alarm rate. change_rms: estimated rms change of g, assuming that it has drifted."""

    p_value: float
    drifted: bool
    change_rms: float
    scenes: int


def drift_test(
    scores: np.ndarray, information: np.ndarray, covariance: np.ndarray, response: np.ndarray, config: DriftConfig
) -> DriftVerdict:
    """Tests scenes against a stored calibration; ValueError if there are fewer than `LEAST_SCENES`.

    Args:
      scores: z of each scene at the stored g, [S, 2N].
      information: J summed over the scenes, [2N, 2N].
      covariance: C of the stored g, [2N, 2N].
      response: the stored g, [N] complex.
      config: settings of the test.
    """
    if len(scores) < LEAST_SCENES:
        raise ValueError(f"--check: expected at least {LEAST_SCENES} scenes, got {len(scores)}")
    rng = np.random.default_rng(config.seed)
    basis = across_gauge(response)
    scores = scores.astype(np.float64) @ basis
    information = basis.T @ information @ basis
    eigenvalues, vectors = np.linalg.eigh(basis.T @ covariance @ basis)
    root = vectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    own = np.sum(scores**2)
    statistic = np.sum(scores.sum(axis=0) ** 2) - own
    signs = rng.choice([-1.0, 1.0], (config.draws, len(scores)))
    drawn = signs @ scores + rng.standard_normal((config.draws, root.shape[1])) @ (information @ root).T
    null = np.sum(drawn**2, axis=1) - own
    p_value = float((1 + np.sum(null >= statistic)) / (1 + config.draws))
    change = 2.0 * max(statistic, 0.0) / np.sum(information**2)
    return DriftVerdict(p_value, p_value <= config.false_alarm_rate, float(np.sqrt(change)), len(scores))
