"""Decision: covariances, masses and scores against linear algebra and sampling, and the path-loss law."""

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.atoms import AtomEvaluation, Atoms
from models.covariance_estimator.likelihood import error_covariance
from models.decision.config import DecisionConfig
from models.decision.decision import Decision, decide
from models.physics.config import PathLossConfig
from models.physics.geometry import FieldOfView
from models.physics.path_loss import LOG_POWER_WIDTH, RangePosteriors, log_evidence, path_loss_factor

VIEW = FieldOfView()
NO_LAW = DecisionConfig(path_loss=PathLossConfig(unrelated_share=1.0))


def evaluation_of(covariances: np.ndarray, llr: np.ndarray) -> AtomEvaluation:
    """An evaluation whose inverse Fisher information has these 4 x 4 blocks [A, 4, 4]; the atoms are uncorrelated."""
    num_atoms = len(llr)
    fisher = np.zeros((1, 4, num_atoms, 4, num_atoms))
    for atom, covariance in enumerate(covariances):
        fisher[0, :, atom, :, atom] = np.linalg.inv(covariance)
    fisher = tf.constant(fisher.reshape(1, 4 * num_atoms, 4 * num_atoms), tf.float32)
    return AtomEvaluation(tf.constant(llr[None], tf.float32), fisher)


def covariance_of(deviations: list[float], correlation: float = 0.0) -> np.ndarray:
    """Covariance of azimuth, elevation, 1/range and log power; the angles are correlated with 1/range."""
    unit = np.eye(4)
    unit[0, 2] = unit[2, 0] = unit[1, 2] = unit[2, 1] = correlation
    return unit * np.outer(deviations, deviations)


def decide_one(place: list[float], covariance: np.ndarray, llr: float = 1e3, config=NO_LAW) -> Decision:
    atoms = Atoms(tf.constant([[place]], tf.float32), tf.constant([[True]]), tf.constant([0.1]))
    return decide(atoms, evaluation_of(covariance[None], np.array([llr])), VIEW, config)


def test_error_covariance_is_the_inverse_fisher_information() -> None:
    rng = np.random.default_rng(2)
    root = rng.normal(size=(12, 40)) * np.repeat([10.0, 30.0, 5.0, 1.0], 3)[:, None]
    fisher = root @ root.T
    found = error_covariance(tf.constant(fisher[None], tf.float32), 3)
    inverse = np.linalg.inv(fisher).reshape(4, 3, 4, 3)
    for atom in range(3):
        np.testing.assert_allclose(found[0, atom], inverse[:, atom, :, atom], rtol=1e-2, atol=1e-6)


def test_posterior_agrees_with_sampling() -> None:
    """Mean, covariance and mass within the gate of a far source: Laplace in 1/range, uniform prior in range."""
    place, covariance = [0.4, -0.2, 1 / 6.0, 0.0], covariance_of([0.02, 0.03, 0.02, 0.1], correlation=0.5)
    decision = decide_one(place, covariance)
    rng = np.random.default_rng(0)
    samples = rng.multivariate_normal(place, covariance, 200_000)
    samples = samples[(samples[:, 2] >= 0.1) & (samples[:, 2] <= 2.0)]
    range_m = 1 / samples[:, 2]
    weight = range_m**2 / np.sum(range_m**2)
    reported = float(decision.range_m[0, 0])
    mass = np.sum(weight * (np.abs(range_m - reported) <= 1.0))
    best = max(np.sum(weight * (np.abs(range_m - centre) <= 1.0)) for centre in np.linspace(4.0, 9.0, 101))
    assert mass == pytest.approx(best, abs=0.02)
    assert float(decision.score[0, 0]) == pytest.approx(mass, abs=0.03)
    azimuth, elevation = samples[:, 0], samples[:, 1]
    assert float(decision.azimuth[0, 0]) == pytest.approx(np.sum(weight * azimuth), abs=2e-3)
    direction = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    error = (range_m * direction).T - decision.position_m[0, 0].numpy()
    spread = np.einsum("s,si,sj->ij", weight, error, error)
    np.testing.assert_allclose(decision.position_cov_m2[0, 0], spread, atol=0.06 * np.trace(spread))


def test_report_stays_in_the_field_of_view() -> None:
    decision = decide_one([1.1, -0.55, 0.05, 0.0], covariance_of([0.02, 0.02, 0.03, 0.1]))
    assert float(decision.azimuth[0, 0]) == pytest.approx(VIEW.azimuth[1], rel=1e-6)
    assert float(decision.elevation[0, 0]) == pytest.approx(VIEW.elevation[0], rel=1e-6)
    assert 0.5 <= float(decision.range_m[0, 0]) <= 10.0 + 1e-4


def test_score_falls_with_doubt() -> None:
    def score(deviations: list[float], llr: float) -> float:
        return float(decide_one([0.0, 0.0, 0.2, 0.0], covariance_of(deviations), llr).score[0, 0])

    sharp = [0.01, 0.01, 0.002, 0.1]
    assert score(sharp, 1e3) > 0.99
    assert score([0.01, 0.01, 0.03, 0.1], 1e3) < 0.9  # range
    assert score([0.1, 0.01, 0.002, 0.1], 1e3) < 0.7  # azimuth
    assert score(sharp, 2.0) < 0.05  # existence


def candidates(levels: list[float], ranges: np.ndarray, exists: list[float]) -> RangePosteriors:
    """Sources with these log powers at every node, on common range nodes of equal weight."""
    shape = (1, len(levels), len(ranges))
    return RangePosteriors(
        tf.constant(np.broadcast_to(ranges, shape), tf.float32),
        tf.constant(np.broadcast_to(np.array(levels)[None, :, None], shape), tf.float32),
        tf.fill([1, len(levels)], 0.02),
        tf.fill(shape, 1.0 / len(ranges)),
        tf.constant([exists]),
    )


def test_the_law_is_its_closed_form_for_two_sources() -> None:
    """Source 0 is at 2 m, so that log p_1 + 2 log r_1 - log p_0 - 2 log 2 m is Gaussian with the sum of variances."""
    nodes = np.linspace(3.0, 9.0, 61)
    first = candidates([-1.0], np.full(61, 2.0), [1.0])
    second = candidates([-3.0], nodes, [1.0])
    both = RangePosteriors(*(tf.concat(parts, axis=1) for parts in zip(first, second, strict=True)))
    share = 1e-6
    factor = path_loss_factor(both, PathLossConfig((0.5,), (1.0,), unrelated_share=share))[0, 1].numpy()
    gap = -3.0 + 2 * np.log(nodes) - (-1.0 + 2 * np.log(2.0))
    variance = 2 * (0.02 + (0.5 * np.log(10) / 10) ** 2 + 1e-4)
    expected = LOG_POWER_WIDTH * np.exp(-0.5 * gap**2 / variance) / np.sqrt(2 * np.pi * variance)
    np.testing.assert_allclose(factor, expected, rtol=5e-3, atol=2e-3)
    assert nodes[np.argmax(factor)] == pytest.approx(2.0 * np.e, abs=0.1)


def slow_factor(sources: RangePosteriors, config: PathLossConfig) -> np.ndarray:
    """`path_loss_factor` of one scene, with loops over sources, nodes, spreads and common levels."""
    common, decibel = np.linspace(-6.0, 6.0, 161), np.log(10.0) / 10.0
    range_m, log_power, weights = (np.asarray(part[0], float) for part in sources[:2] + sources[3:4])
    variance, exists = np.asarray(sources.log_power_variance[0], float), np.asarray(sources.exists[0], float)
    level = log_power + 2.0 * np.log(range_m)
    relative = np.empty((*level.shape, len(config.power_spreads_db), common.size))  # [A, n, spread, t]
    for s, spread in enumerate(config.power_spreads_db):
        total = variance[:, None, None] + (decibel * spread) ** 2 + 1e-4
        density = np.exp(-0.5 * (level[..., None] - common) ** 2 / total) / np.sqrt(2.0 * np.pi * total)
        relative[:, :, s] = (1.0 - config.unrelated_share) * LOG_POWER_WIDTH * density + config.unrelated_share
    seen = exists[:, None, None] * np.einsum("an,anst->ast", weights, relative) + 1.0 - exists[:, None, None]
    prior = np.array(config.spread_shares)[:, None]
    factor = np.empty_like(level)
    for source in range(len(level)):
        posterior = prior * np.prod(np.delete(seen, source, axis=0), axis=0)
        factor[source] = np.einsum("st,nst->n", posterior / posterior.sum(), relative[source])
    return factor


@pytest.mark.parametrize("levels", [[-1.0, -1.6, -3.2], [-1.0, -3.0, -4.1]])
def test_spreads_are_inferred_as_the_slow_sums_have_it(levels: list[float]) -> None:
    """Three sources with equal and with different transmit powers."""
    nodes = np.linspace(2.0, 6.0, 41)
    sources = candidates(levels, nodes, [1.0, 0.9, 0.7])
    sharp = np.exp(-0.5 * (nodes - np.array([[3.0], [4.0], [5.0]])) ** 2 / np.array([[0.1], [0.1], [1.0]]))
    weights = tf.constant((sharp / sharp.sum(axis=1, keepdims=True))[None], tf.float32)
    sources = sources._replace(weights=weights)
    found = path_loss_factor(sources, PathLossConfig())[0].numpy()
    np.testing.assert_allclose(found, slow_factor(sources, PathLossConfig()), rtol=6e-2, atol=2e-3)


def test_evidence_of_the_law_is_its_closed_form_for_two_sources() -> None:
    """For two sources within the width of the flat prior and with one common level; zero for one source or none."""
    config = PathLossConfig((0.5,), (1.0,), unrelated_share=1e-6)
    levels = tf.constant([[0.3, 0.7], [0.3, 1.2], [0.3, 0.7], [0.3, 0.7]])
    active = tf.constant([[True, True], [True, True], [True, False], [False, False]])
    variance = 0.04 + (0.5 * np.log(10) / 10) ** 2 + 1e-4
    found = log_evidence(levels, tf.fill([4, 2], 0.04), active, config).numpy()
    span = 12.0 * 161 / 160  # of the common level
    alone = np.log(LOG_POWER_WIDTH / span)
    pair = [-0.25 * gap**2 / variance - 0.5 * np.log(4 * np.pi * variance) for gap in (0.4, 0.9)]
    expected = [alone + np.log(LOG_POWER_WIDTH) + value for value in pair]
    np.testing.assert_allclose(found, [*expected, alone, 0.0], atol=2e-2)


def test_the_law_can_be_left_out_and_needs_a_partner() -> None:
    nodes = np.linspace(3.0, 9.0, 7)
    pair = candidates([-1.0, -3.0], nodes, [1.0, 1.0])
    np.testing.assert_allclose(path_loss_factor(pair, PathLossConfig(unrelated_share=1.0)), 1.0, rtol=1e-5)
    lonely = path_loss_factor(candidates([-1.0, -3.0], nodes, [1.0, 0.0]), PathLossConfig())[0, 0].numpy()
    np.testing.assert_allclose(lonely, lonely[0], rtol=1e-3)  # without another source, no range is preferred


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DecisionConfig(min_score=2), "DecisionConfig.min_score: expected 0 to 1, got 2"),
        (lambda: DecisionConfig(gate_range_m=0.0), "DecisionConfig.gate_range_m: expected a positive number"),
        (lambda: PathLossConfig((2.0, 0.5), (1.0, 1.0)), "PathLossConfig.power_spreads_db: expected ascending numbers"),
        (lambda: PathLossConfig((0.5, 2.0), (1.0,)), "PathLossConfig.spread_shares: expected 2 positive numbers"),
        (lambda: PathLossConfig(unrelated_share=0.0), "PathLossConfig.unrelated_share: expected a number in"),
    ],
)
def test_refusals(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
