"""From sums to an element response: gauge, prior, step, covariance.

The likelihood does not know a common factor of g (the sources' powers and symbols undo it), so steps are taken across
the two directions g and j g alone, and the result is scaled by convention: median amplitude 1 of the elements that
reflect, mean phase 0. What else the scenes hardly tell, a ramp of phase above all, which is nearly a shift of all
angles, the prior settles: g_n ~ CN(m, v), with m and v of the largest evidence (MacKay 1992). Where nothing is wrong v
falls to nothing, and so does what a calibration changes.
"""

import dataclasses

import numpy as np
from scipy import stats

from pipeline.calibrate.options import DeadConfig
from pipeline.calibrate.sums import Sums

_LEAST_VARIANCE = 1e-7
_EVIDENCE_STEPS = 200


@dataclasses.dataclass(frozen=True)
class Prior:
    """g_n ~ CN(mean, variance)."""

    mean: float = 1.0
    variance: float = 0.3

    @property
    def precision(self) -> float:
        """Of each of the 2N real numbers."""
        return 2.0 / self.variance


@dataclasses.dataclass(frozen=True)
class Solution:
    """An element response and what is known of it.

    response: g, [N] complex128. covariance: of (Re g, Im g), [2N, 2N] float64; zero along the gauge.
    step: g minus the response before, [2N]. prior: that of the largest evidence. determined: how many of the 2N numbers
    the scenes determine and not the prior.
    """

    response: np.ndarray
    covariance: np.ndarray
    step: np.ndarray
    prior: Prior
    determined: float

    @property
    def deviation(self) -> np.ndarray:
        """Standard error of each element, root of the sum of both parts' variances: [N] float64."""
        variance = np.diag(self.covariance)
        return np.sqrt(variance[: self.response.size] + variance[self.response.size :])


def as_real(response: np.ndarray) -> np.ndarray:
    """[N] complex -> [2N]."""
    return np.concatenate([response.real, response.imag])


def as_complex(values: np.ndarray) -> np.ndarray:
    """[2N] -> [N] complex."""
    return values[: values.size // 2] + 1j * values[values.size // 2 :]


def settled(response: np.ndarray) -> np.ndarray:
    """The same g with a median amplitude of 1 among the elements that reflect, and mean phase 0."""
    amplitude = np.abs(response)
    scale = np.median(amplitude[amplitude > 0.3 * np.median(amplitude)])
    return response / scale * np.exp(-1j * np.angle(np.sum(response)))


def across_gauge(response: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the directions that are no common factor of g: [2N, 2N - 2]."""
    gauge = np.stack([as_real(response), as_real(1j * response)], axis=1)
    return np.linalg.svd(gauge, full_matrices=True)[0][:, 2:]


def complete_information(complete: np.ndarray) -> np.ndarray:
    """T as the information of (Re g, Im g), were the sources and their symbols known: [2N, 2N]."""
    return 2.0 * np.block([[complete.real, -complete.imag], [complete.imag, complete.real]])


def solve(sums: Sums, response: np.ndarray, prior: Prior, *, caution: float = 0.0, adapt: bool = True) -> Solution:
    """The response of the highest posterior by the quadratic of the sums at `response`.

    Args:
      sums: at `response`.
      response: g, [N] complex128.
      prior: where the search for the prior starts.
      caution: 0 is the full step of Fisher scoring, 1 that of expectation maximisation, which never lowers the
        likelihood: the information is mixed with the complete data's, which is never less.
      adapt: whether the prior is chosen by the evidence; else it is used as it is.
    """
    basis = across_gauge(response)
    information = (1.0 - caution) * sums.information + caution * complete_information(sums.complete)
    eigenvalues, vectors = np.linalg.eigh(basis.T @ information @ basis)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    vectors = basis @ vectors
    score = vectors.T @ sums.score
    here, ones = as_real(response), as_real(np.ones_like(response))
    centre, start = vectors.T @ ones, vectors.T @ here
    determined = 0.0
    for _ in range(_EVIDENCE_STEPS if adapt else 1):
        precision = prior.precision
        step = (score + precision * (prior.mean * centre - start)) / (eigenvalues + precision)
        moved = here + vectors @ step
        determined = float(np.sum(eigenvalues / (eigenvalues + precision)))
        if not adapt:
            break
        mean = float(np.mean(moved[: response.size]))
        variance = 2.0 * float(np.sum((moved - mean * ones) ** 2)) / max(determined, 1e-3)
        new = Prior(mean, max(variance, _LEAST_VARIANCE))
        converged = abs(new.variance - prior.variance) < 1e-3 * prior.variance
        prior = new
        if converged:
            break
    covariance = (vectors / (eigenvalues + prior.precision)) @ vectors.T
    return Solution(as_complex(moved), covariance, moved - here, prior, determined)


def radial_deviation(solution: Solution) -> np.ndarray:
    """Standard error of each element's amplitude, the larger one of any direction where g_n is small: [N] float64."""
    count = solution.response.size
    own = np.arange(count)
    c = solution.covariance
    blocks = np.array([[c[own, own], c[own, own + count]], [c[own + count, own], c[own + count, own + count]]])
    return np.sqrt(np.linalg.eigvalsh(np.moveaxis(blocks, -1, 0))[:, -1])


def dead_elements(solution: Solution, config: DeadConfig) -> np.ndarray:
    """Elements that reflect nothing, [N] bool, by a test of each with a bounded rate of false alarms.

    The hypothesis: an element reflects at least `least_amplitude` of the median. Twice the log-likelihood ratio
    between the best response and the best one that the hypothesis allows is, for an element on the edge of the
    hypothesis, chi-squared with one degree of freedom on one side. So element n is declared dead where
    (least_amplitude - |g_n|) / deviation_n exceeds the normal quantile of the false-alarm rate. A live element fails
    with at most that probability. An element that the scenes do not determine is not declared dead.

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
