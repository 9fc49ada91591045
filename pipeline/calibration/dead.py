"""Which elements reflect nothing: a test of each, with a stated rate of false alarms.

The hypothesis is that an element reflects at least `least_amplitude` of the median. Twice the log-likelihood between
the best response and the best one that the hypothesis allows is, in the quadratic of the posterior and for an element
on the hypothesis' edge, chi-squared of one degree of freedom on the side that counts: an element is declared dead where
(least_amplitude - |g_n|) / deviation_n is above the normal quantile of the false-alarm rate. A live element fails with
that probability at most, the less the more it reflects; one that scenes don't determine is not declared dead.
"""

import numpy as np
from scipy import stats

from pipeline.calibration.config import DeadConfig
from pipeline.calibration.solution import Solution, as_complex, as_real


def radial_deviation(solution: Solution) -> np.ndarray:
    """Standard error of each element's amplitude, the larger one of any direction where g_n is small: [N] float64."""
    count = solution.response.size
    own = np.arange(count)
    c = solution.covariance
    blocks = np.array([[c[own, own], c[own, own + count]], [c[own + count, own], c[own + count, own + count]]])
    return np.sqrt(np.linalg.eigvalsh(np.moveaxis(blocks, -1, 0))[:, -1])


def dead_elements(solution: Solution, config: DeadConfig) -> np.ndarray:
    """Elements that reflect nothing: [N] bool.

    Args:
      solution: its response settled, so that the median amplitude is 1.
      config: the test.
    """
    margin = (config.least_amplitude - np.abs(solution.response)) / radial_deviation(solution)
    return margin > stats.norm.isf(config.false_alarm_rate)


def without_dead(solution: Solution, dead: np.ndarray) -> np.ndarray:
    """The response of the highest posterior where the dead elements are at zero: [N] complex128."""
    if not dead.any():
        return solution.response
    fixed = np.concatenate([dead, dead])
    within = solution.covariance[np.ix_(fixed, fixed)]
    across = solution.covariance[:, fixed]
    values = as_real(solution.response)
    moved = values - across @ np.linalg.solve(within, values[fixed])
    response = as_complex(moved)
    response[dead] = 0.0
    return response
