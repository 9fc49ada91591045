"""Response from sums: gauge, prior, dead elements, learning curve, drift test; against theory and Monte Carlo."""

import numpy as np
import pytest

from pipeline.calibrate.drift import drift_test
from pipeline.calibrate.learning_curve import learning_curve
from pipeline.calibrate.options import DeadConfig, DriftConfig
from pipeline.calibrate.solution import (
    Prior,
    Solution,
    across_gauge,
    as_complex,
    as_real,
    dead_elements,
    normalized,
    solve,
    without_dead,
)
from pipeline.calibrate.sums import Sums, no_scenes, total

ELEMENTS = 12


def information_of(rng: np.random.Generator, response: np.ndarray, size: float) -> np.ndarray:
    """A random information matrix with zero information on a common factor."""
    basis = across_gauge(response)
    root = rng.standard_normal((2 * ELEMENTS, 2 * ELEMENTS))
    inside = size * (basis.T @ root) @ (basis.T @ root).T / (2 * ELEMENTS)
    return basis @ (inside + 0.1 * size * np.eye(len(inside))) @ basis.T


def sums_of(rng: np.random.Generator, at: np.ndarray, truth: np.ndarray, information: np.ndarray) -> Sums:
    """Draws sums at `at` from the distribution of scores with this information."""
    basis = across_gauge(at)
    values, vectors = np.linalg.eigh(basis.T @ information @ basis)
    noise = basis @ (vectors * np.sqrt(values)) @ rng.standard_normal(len(values))
    score = information @ as_real(truth - at) + noise
    return Sums(10.0, 0.0, score, information, 1e5 * np.eye(ELEMENTS, dtype=complex))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_normalized_undoes_any_factor(rng: np.random.Generator) -> None:
    response = 1.0 + 0.2 * as_complex(rng.standard_normal(2 * ELEMENTS))
    response[3] = 0.0
    one = normalized(response)
    np.testing.assert_allclose(normalized(0.3j * response), one)
    assert np.median(np.abs(np.delete(one, 3))) == pytest.approx(1.0)
    assert np.angle(one.sum()) == pytest.approx(0.0, abs=1e-12)


def test_steps_lie_across_the_gauge_and_raise_the_quadratic(rng: np.random.Generator) -> None:
    response = np.ones(ELEMENTS, complex)
    sums = sums_of(rng, response, response + 0.1j * rng.standard_normal(ELEMENTS), information_of(rng, response, 1e4))
    for caution in (0.0, 0.5, 1.0):
        found = solve(sums, response, Prior(), caution=caution)
        assert found.step @ as_real(response) == pytest.approx(0.0, abs=1e-9)
        assert found.step @ as_real(1j * response) == pytest.approx(0.0, abs=1e-9)
        assert sums.moved(found.step).nll < sums.nll
    cautious = solve(sums, response, Prior(variance=1e9), caution=1.0, adapt=False)
    np.testing.assert_allclose(as_complex(cautious.step), as_complex(sums.score) / 2e5, atol=1e-9)  # T^-1 e


def test_sums_move_by_their_own_quadratic(rng: np.random.Generator) -> None:
    response = np.ones(ELEMENTS, complex)
    sums = sums_of(rng, response, response, information_of(rng, response, 10.0))
    step = rng.standard_normal(2 * ELEMENTS)
    back = sums.moved(step).moved(-step)
    np.testing.assert_allclose(back.score, sums.score)
    assert back.nll == pytest.approx(sums.nll)
    twice = total([sums, sums], ELEMENTS)
    np.testing.assert_allclose((2.0 * twice.scenes, *twice.score), (4.0 * sums.scenes, *(2.0 * sums.score)))


def test_standard_errors_are_those_of_repeated_measurements(rng: np.random.Generator) -> None:
    """The truth is drawn from the prior, scores from their distribution: errors spread as the covariance predicts."""
    at = np.ones(ELEMENTS, complex)
    information, prior = information_of(rng, at, 200.0), Prior(1.0, 0.1)
    basis = across_gauge(at)
    errors = []
    for _ in range(1000):
        truth = at + as_complex(basis @ basis.T @ rng.standard_normal(2 * ELEMENTS)) * np.sqrt(prior.variance / 2)
        found = solve(sums_of(rng, at, truth, information), at, prior, adapt=False)
        errors.append(found.response - truth)
    spread = np.sqrt(np.mean(np.abs(errors) ** 2, axis=0))
    np.testing.assert_allclose(spread, found.deviation, rtol=0.08)


def test_without_errors_the_prior_variance_shrinks(rng: np.random.Generator) -> None:
    """With scores of pure noise, the evidence shrinks the response to its nominal value."""
    at = np.ones(ELEMENTS, complex)
    information = information_of(rng, at, 100.0)
    shrunk, free = [], []
    for _ in range(20):
        sums = sums_of(rng, at, at, information)
        shrunk.append(np.linalg.norm(solve(sums, at, Prior()).step))
        free.append(np.linalg.norm(solve(sums, at, Prior(variance=1e6), adapt=False).step))
    assert np.median(shrunk) < 0.5 * np.median(free)


def test_false_alarms_of_dead_elements() -> None:
    """Elements with exactly the least live amplitude are declared dead at the given false-alarm rate."""
    rng = np.random.default_rng(0)
    config, deviation, alarms, trials = DeadConfig(false_alarm_rate=0.05), 0.05, 0, 200
    for _ in range(trials):
        noise = deviation * rng.standard_normal(2 * ELEMENTS)
        edge = config.least_amplitude * np.exp(2j * np.pi * rng.random(ELEMENTS))
        edge[0] = 0.0
        solution = Solution(edge + as_complex(noise), deviation**2 * np.eye(2 * ELEMENTS), noise, Prior(), 1.0)
        dead = dead_elements(solution, config)
        alarms += int(dead[1:].sum())
    rate = alarms / (trials * (ELEMENTS - 1))
    assert rate < 0.06
    assert rate > 0.02


def test_an_undetermined_element_is_not_dead() -> None:
    solution = Solution(np.zeros(ELEMENTS, complex), np.eye(2 * ELEMENTS), np.zeros(2 * ELEMENTS), Prior(), 0.0)
    assert not dead_elements(solution, DeadConfig()).any()


def test_others_follow_when_dead_elements_go_to_zero(rng: np.random.Generator) -> None:
    """The other elements take their conditional mean, which minimises the quadratic form."""
    root = rng.standard_normal((2 * ELEMENTS, 2 * ELEMENTS))
    covariance = root @ root.T / 100
    response = 1.0 + as_complex(0.1 * rng.standard_normal(2 * ELEMENTS))
    dead = np.zeros(ELEMENTS, bool)
    dead[[2, 7]] = True
    found = without_dead(Solution(response, covariance, np.zeros(2 * ELEMENTS), Prior(), 1.0), dead)
    assert (found[dead] == 0).all()
    free = ~np.concatenate([dead, dead])
    precision, change = np.linalg.inv(covariance), as_real(found - response)
    np.testing.assert_allclose((precision @ change)[free], 0.0, atol=1e-6 * np.abs(precision).max())


def test_learning_curve_falls_with_the_root_of_scenes(rng: np.random.Generator) -> None:
    at = np.ones(ELEMENTS, complex)
    information = information_of(rng, at, 400.0)
    truth = at + 0.3 * as_complex(rng.standard_normal(2 * ELEMENTS))
    folds = [sums_of(rng, at, truth, information) for _ in range(8)]
    response = normalized(solve(total(folds, ELEMENTS), at, Prior()).response)
    curve = learning_curve(folds, response, Prior(variance=10.0), np.zeros(ELEMENTS, bool))
    assert [point.scenes for point in curve.points] == [10.0, 20.0, 40.0, 80.0]
    predicted = [point.predicted for point in curve.points]
    np.testing.assert_allclose(predicted[0] / predicted[-1], np.sqrt(8), rtol=0.1)
    for point in curve.points[1:]:
        assert point.observed == pytest.approx(point.predicted, rel=0.5)
    assert curve.is_informative
    assert not learning_curve([no_scenes(ELEMENTS)] * 8, at, Prior(), np.zeros(ELEMENTS, bool)).is_informative


@pytest.mark.parametrize("freedom", [2.5, np.inf])
def test_false_alarms_of_the_check(freedom: float) -> None:
    """The given rate holds for any symmetric distribution of scores, and a stored response with its stated error."""
    rng = np.random.default_rng(2)
    at = np.ones(ELEMENTS, complex)
    information = information_of(rng, at, 50.0)
    values, vectors = np.linalg.eigh(information)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    covariance = np.linalg.pinv(information) / 5.0  # as from five times as many scenes
    eigen, basis = np.linalg.eigh(covariance)
    error_root = basis * np.sqrt(np.maximum(eigen, 0.0))
    config, scenes, sets = DriftConfig(false_alarm_rate=0.1, draws=400), 20, 300
    alarms = 0
    for _ in range(sets):
        weights = 1.0 if freedom == np.inf else np.sqrt(1.0 / rng.gamma(freedom, 1.0 / freedom, (scenes, 1)))
        scores = weights * rng.standard_normal((scenes, 2 * ELEMENTS)) @ root.T / np.sqrt(scenes)
        scores = scores + information @ error_root @ rng.standard_normal(2 * ELEMENTS) / scenes
        alarms += drift_test(scores, information, covariance, at, config).drifted
    assert 0.04 < alarms / sets < 0.15


def test_the_check_detects_a_drift(rng: np.random.Generator) -> None:
    at = np.ones(ELEMENTS, complex)
    information = information_of(rng, at, 2e3)
    drift = 0.2j * rng.standard_normal(ELEMENTS)
    scores = (
        rng.standard_normal((20, 2 * ELEMENTS)) @ np.linalg.cholesky(information / 20 + 1e-6 * np.eye(2 * ELEMENTS)).T
    )
    scores += information @ as_real(drift) / 20
    verdict = drift_test(scores, information, np.zeros_like(information), at, DriftConfig())
    assert verdict.drifted
    assert 0.05 < verdict.change_rms < 0.5
    with pytest.raises(ValueError, match="--check: expected at least 8 scenes, got 3"):
        drift_test(scores[:3], information, np.zeros_like(information), at, DriftConfig())
