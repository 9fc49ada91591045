"""Computes the element response and its covariance from the sums.

The likelihood does not depend on a common factor of g, because the powers and symbols of the sources cancel it. Steps
are therefore orthogonal to the two gauge directions g and j g. A convention fixes the factor: the elements that reflect
have a median amplitude of 1, and the mean phase is 0. Other directions are barely determined by the scenes, above all a
phase ramp, which is nearly a shift of all angles. The prior g_n ~ CN(m, v) determines them; m and v maximise the
evidence (MacKay 1992). If the nominal values are right, v approaches 0, and the calibration changes nothing.
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
        """Prior precision of each of the 2N real numbers."""
        return 2.0 / self.variance


@dataclasses.dataclass(frozen=True)
class Solution:
    """An element response and its uncertainty.

    response: g, [N] complex128.
    covariance: covariance of (Re g, Im g), [2N, 2N] float64; zero along the gauge directions.
    step: change from the previous response, [2N] float64.
    prior: prior that maximises the evidence.
    determined: effective number of the 2N numbers that the scenes determine rather than the prior.
    """

    response: np.ndarray
    covariance: np.ndarray
    step: np.ndarray
    prior: Prior
    determined: float

    @property
    def deviation(self) -> np.ndarray:
        """Standard error of each element, sqrt(var Re g_n + var Im g_n): [N] float64."""
        variance = np.diag(self.covariance)
        return np.sqrt(variance[: self.response.size] + variance[self.response.size :])


def as_real(response: np.ndarray) -> np.ndarray:
    """[N] complex -> [2N]."""
    return np.concatenate([response.real, response.imag])


def as_complex(values: np.ndarray) -> np.ndarray:
    """[2N] -> [N] complex."""
    return values[: values.size // 2] + 1j * values[values.size // 2 :]


def normalized(response: np.ndarray) -> np.ndarray:
    """Scales g to a median amplitude of 1 over the elements that reflect, and to a mean phase of 0."""
    amplitude = np.abs(response)
    scale = np.median(amplitude[amplitude > 0.3 * np.median(amplitude)])
    return response / scale * np.exp(-1j * np.angle(np.sum(response)))


def across_gauge(response: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the directions orthogonal to a common factor of g: [2N, 2N - 2]."""
    gauge = np.stack([as_real(response), as_real(1j * response)], axis=1)
    return np.linalg.svd(gauge, full_matrices=True)[0][:, 2:]


def complete_information(complete: np.ndarray) -> np.ndarray:
    """Complete-data information of (Re g, Im g) from T, as if sources and symbols were known: [2N, 2N]."""
    return 2.0 * np.block([[complete.real, -complete.imag], [complete.imag, complete.real]])


def solve(sums: Sums, response: np.ndarray, prior: Prior, *, caution: float = 0.0, adapt: bool = True) -> Solution:
    """Maximises the posterior by the quadratic approximation of the sums at `response`, which is g, [N] complex128.

    Args:
      sums, response, prior: sums at the response; the initial prior.
      caution: mixes the information with the larger complete-data information. 0 is the full step of Fisher scoring.
        1 is the step of expectation maximisation, which never lowers the likelihood.
      adapt: whether to choose the prior by the evidence; otherwise `prior` is used unchanged.
    """
    basis = across_gauge(response)
    information = (1.0 - caution) * sums.information + caution * complete_information(sums.complete)
    eigenvalues, vectors = np.linalg.eigh(basis.T @ information @ basis)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    vectors = basis @ vectors
    score = vectors.T @ sums.score
    current, ones = as_real(response), as_real(np.ones_like(response))
    centre, start = vectors.T @ ones, vectors.T @ current
    determined = 0.0
    for _ in range(_EVIDENCE_STEPS if adapt else 1):
        precision = prior.precision
        step = (score + precision * (prior.mean * centre - start)) / (eigenvalues + precision)
        moved = current + vectors @ step
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
    return Solution(as_complex(moved), covariance, moved - current, prior, determined)


def radial_deviation(solution: Solution) -> np.ndarray:
    """Standard error of each element along its least certain direction in the complex plane: [N] float64."""
    count = solution.response.size
    own = np.arange(count)
    c = solution.covariance
    blocks = np.array([[c[own, own], c[own, own + count]], [c[own + count, own], c[own + count, own + count]]])
    return np.sqrt(np.linalg.eigvalsh(np.moveaxis(blocks, -1, 0))[:, -1])


def dead_elements(solution: Solution, config: DeadConfig) -> np.ndarray:
    """Tests each element of a normalized solution for being dead, with a bounded false-alarm rate; [N] bool.

    The null hypothesis is that an element reflects at least `least_amplitude` of the median, which is 1. For an element
    at exactly this amplitude, twice the log-likelihood ratio between the best response and the best one under the
    hypothesis follows a one-sided chi-squared distribution with one degree of freedom. Element n is therefore declared
    dead if (least_amplitude - |g_n|) / deviation_n exceeds the normal quantile of the false-alarm rate. A live element
    is declared dead with at most that probability. An element that the scenes do not determine is not declared dead.
    """
    margin = (config.least_amplitude - np.abs(solution.response)) / radial_deviation(solution)
    return margin > stats.norm.isf(config.false_alarm_rate)


def without_dead(solution: Solution, dead: np.ndarray) -> np.ndarray:
    """The response that maximises the posterior with all dead elements at zero: [N] complex128."""
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
