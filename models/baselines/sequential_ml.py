"""Sequential off-grid maximum likelihood with likelihood-ratio stopping, the reference estimator.

Adds the grid point with the largest log-likelihood ratio and refines all sources jointly, until the log-likelihood
ratio is too small. Then removes sources whose log-likelihood ratio has become too small. Given the sources in S_l, a
new source a of power gamma has exactly the log-likelihood ratio

    sum_l gamma b_l / (1 + gamma alpha_l) - log(1 + gamma alpha_l),
    alpha_l = a^H Phi_l^H S_l^-1 Phi_l a,    b_l = |a^H Phi_l^H S_l^-1 y_l|^2.
"""

import dataclasses

import numpy as np

from models.baselines.crb import position_bound
from models.baselines.grid import squared
from models.baselines.likelihood import PARAMETERS, Likelihood, evaluate_likelihood, source_columns, whitening
from models.baselines.measurement import Measurement
from models.baselines.report import Estimator, GridSearchConfig, SceneReport
from models.checked import AtLeast1, NotNegative, Positive, checked
from models.physics.geometry import FieldOfView, RISArray


@checked(frozen=True)
class SequentialMLConfig(GridSearchConfig):
    """Settings of search, refinement and stopping."""

    min_llr: Positive = 15.0
    """Smallest log-likelihood ratio of a source, when it is added and at the end."""
    noise_inflation: NotNegative = 0.0
    """c: adds c times the signal power to the noise power, for robustness against channel and phase errors."""
    tolerance: Positive = 0.01
    """The joint refinement stops when the predicted improvement of the log-likelihood is below this."""
    max_steps: AtLeast1 = 60
    """Largest number of steps of a joint refinement."""


# Azimuth, elevation, inverse range, log power. The first three scale with the surface's resolution.
_STEP_SCALE = np.array([0.05, 0.05, 0.1, 1.0])
_MAX_STEP = 2.0
_DAMPING_START, _DAMPING_DOWN, _DAMPING_UP, _DAMPING_MAX = 0.1, 0.3, 6.0, 1e6
_LOG_POWER_LIMITS = (np.log(1e-6), np.log(1e2))
_POWER_STEPS = 6


def best_power_llr(alpha: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood ratio of a new source at its best power, and the log of that power, by Fisher scoring.

    alpha and b are [L, G] float64, see the module's docstring; the results are [G], zero and minus infinity where the
    ratio does not rise at zero power.
    """
    excess = (b - alpha).sum(axis=0)  # slope of the log-likelihood ratio at zero power
    useful = np.flatnonzero(excess > 0)
    alpha, b = alpha[:, useful], b[:, useful]
    log_power = np.log(excess[useful] / (alpha**2).sum(axis=0))
    for _ in range(_POWER_STEPS):
        power = np.exp(log_power)
        remaining = 1.0 / (1.0 + power * alpha)
        explained = 1.0 - remaining
        slope = (power * b * remaining**2 - explained).sum(axis=0)
        log_power += np.clip(slope / (explained**2).sum(axis=0), -1.0, 1.0)
    power = np.exp(log_power)
    loaded = 1.0 + power * alpha
    llr, best = np.zeros(excess.shape), np.full(excess.shape, -np.inf)
    llr[useful], best[useful] = (power * b / loaded - np.log(loaded)).sum(axis=0), log_power
    return llr, best


def refine(
    parameters: np.ndarray, measurement: Measurement, array: RISArray, view: FieldOfView, config: SequentialMLConfig
) -> tuple[np.ndarray, Likelihood]:
    """Joint maximum likelihood of K sources [K, 4] inside the field of view, by damped Fisher scoring.

    A parameter at its limit is fixed if the step would leave the field of view. A step is accepted if the likelihood
    does not fall; otherwise the damping increases. Returns the sources, see `evaluate_likelihood`, and the likelihood
    at them.
    """
    limits = np.array([view.azimuth, view.elevation, view.inverse_range, _LOG_POWER_LIMITS])
    low, high = limits.T
    parameters = np.clip(parameters, low, high)
    current = evaluate_likelihood(parameters, measurement, array)
    damping, scale = _DAMPING_START, _STEP_SCALE * np.append(array.relative_resolution, 1.0)
    for _ in range(config.max_steps):
        gradient = (current.gradient * scale).ravel()
        outwards = ((parameters <= low) & (current.gradient > 0)) | ((parameters >= high) & (current.gradient < 0))
        free = np.flatnonzero(~outwards.ravel())
        fisher = current.fisher * scale[:, None, None] * scale
        fisher = fisher.reshape(gradient.size, gradient.size)[np.ix_(free, free)]
        loaded = fisher + np.diag(damping * np.diagonal(fisher) + 1e-9)
        step = np.zeros(gradient.size)
        step[free] = np.clip(-np.linalg.solve(loaded, gradient[free]), -_MAX_STEP, _MAX_STEP)
        if -0.5 * gradient @ step < config.tolerance:
            break
        moved = np.clip(parameters + step.reshape(parameters.shape) * scale, low, high)
        candidate = evaluate_likelihood(moved, measurement, array)
        if candidate.nll <= current.nll:
            parameters, current, damping = moved, candidate, max(damping * _DAMPING_DOWN, 1e-6)
        else:
            damping *= _DAMPING_UP
            if damping > _DAMPING_MAX:
                break
    return parameters, current


@dataclasses.dataclass(eq=False)
class SequentialML(Estimator):
    """Locates the sources one after the other, with covariances. The score is the log-likelihood ratio of a source."""

    config: SequentialMLConfig = SequentialMLConfig()

    @property
    def noise_inflation(self) -> float:
        return self.config.noise_inflation

    def estimate(self, measurement: Measurement) -> tuple[np.ndarray, Likelihood]:
        """The sources of a scene [K, 4], see `evaluate_likelihood`, and the likelihood at them."""
        energy = self.grid.energy(measurement)
        parameters = np.zeros((0, PARAMETERS))
        current = self._refine(parameters, measurement)[1]
        for _ in range(self.scenario.max_sources):
            start = self.best_grid_source(parameters, measurement, energy)
            if start is None:
                break
            extended, likelihood = self._refine(np.vstack([parameters, start]), measurement)
            if current.nll - likelihood.nll < self.config.min_llr:
                break
            parameters, current = extended, likelihood
        while len(parameters) and current.llr.min() < self.config.min_llr:
            parameters, current = self._refine(np.delete(parameters, current.llr.argmin(), axis=0), measurement)
        return parameters, current

    def report(self, measurement: Measurement) -> SceneReport:
        parameters, likelihood = self.estimate(measurement)
        size = parameters.size
        covariance = position_bound(likelihood.fisher.reshape(size, size), parameters).covariance_m2
        return SceneReport(parameters[:, :3], likelihood.llr, covariance)

    def best_grid_source(
        self, parameters: np.ndarray, measurement: Measurement, energy: np.ndarray
    ) -> np.ndarray | None:
        """Grid point and power [4] with the largest log-likelihood ratio, given the present sources [K, 4].

        `energy` is the `SearchGrid.energy` of the scene. None if no source increases the likelihood.
        """
        columns = source_columns(parameters, measurement, self.scenario.array)
        white = whitening(2.0 * columns[:, :, -1], measurement.noise_power)
        solved = white.solve(measurement.snapshots[..., None])
        products = squared(self.grid.correlation(measurement, np.concatenate([solved, white.basis], axis=-1)))
        alpha = (energy - products[:, 1:].sum(axis=1)) / measurement.noise_power
        llr, log_power = best_power_llr(alpha, products[:, 0])
        best = llr.argmax()
        return np.append(self.grid.points[best], log_power[best]) if llr[best] > 0 else None

    def _refine(self, parameters: np.ndarray, measurement: Measurement) -> tuple[np.ndarray, Likelihood]:
        return refine(parameters, measurement, self.scenario.array, self.scenario.field_of_view, self.config)


sequential_ml_localizer = SequentialML.for_batches
