"""The corrected NEES is 1 for correct covariances, whatever the gate excludes."""

import numpy as np
import pytest
from scipy import stats

from pipeline.metrics.matching import Gate, found_sources, match_sources, true_sources
from pipeline.metrics.reliability import gated_errors, position_covariance_metrics
from tests.estimates import answer

COUNT = 2_000
GATES = [Gate(), Gate(2.0, 2.0, 0.25), Gate(1.0, 8.0, 0.1)]


def simulated(scale: float = 1.0, strangers: int = 0, seed: int = 1, count: int = COUNT):
    """Matches and found sources of scenes with one source each.

    Errors are drawn from `scale` times the reported covariance, with standard deviations of 2 cm to 2 m in range and
    0.1 to 4 degrees across. The last `strangers` found sources are at random positions.
    """
    rng = np.random.default_rng(seed)
    azimuth, elevation = rng.uniform(-0.9, 0.9, count), rng.uniform(-0.4, 0.4, count)
    range_m = rng.uniform(4.0, 9.0, count)

    def place(azimuth, elevation, range_m):
        directions = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        return np.stack(directions, axis=-1) * range_m[:, None]

    across = range_m * np.radians(10.0 ** rng.uniform(-1.0, 0.6, count))
    deviations = np.stack([10.0 ** rng.uniform(-1.7, 0.3, count), across, across], axis=-1)
    turn = np.linalg.qr(np.stack([place(azimuth, elevation, range_m), *rng.normal(size=(2, count, 3))], axis=-1))[0]
    root = turn * deviations[:, None, :]
    errors = np.einsum("sij,sj->si", root, rng.normal(size=(count, 3))) * np.sqrt(scale)
    found_m = place(azimuth, elevation, range_m) + errors
    found_m[count - strangers :] = rng.uniform([2.0, -3.0, -2.0], [9.0, 3.0, 2.0], (strangers, 3))
    truth = true_sources(
        {
            "num_sources": np.ones(count, int),
            "azimuth": azimuth[:, None],
            "elevation": elevation[:, None],
            "range_m": range_m[:, None],
        }
    )
    found_range = np.linalg.norm(found_m, axis=-1)
    outputs = answer(
        np.ones(count),
        np.degrees(np.arctan2(found_m[:, 1], found_m[:, 0]))[:, None],
        np.degrees(np.arcsin(found_m[:, 2] / found_range))[:, None],
        found_range[:, None],
        position_cov_m2=(root @ root.mT)[:, None],
    )
    found = found_sources(outputs)
    return match_sources(truth, found), found


@pytest.mark.parametrize("gate", GATES)
def test_honest_covariances_read_one_whatever_the_gate(gate: Gate) -> None:
    table, found = simulated()
    errors, everything = gated_errors(table, found, gate), np.ones(COUNT, bool)
    inside = table.hits(gate)
    assert 0.01 < inside.mean() < 0.9
    low, high = errors.honest_interval(everything, 0.999)
    assert low < errors.nees_over_3(everything) < high
    assert 0.5 < low < 1.0 < high < 1.5
    uncorrected = table.squared_mahalanobis[inside].mean() / 3.0
    assert uncorrected < low  # it lacks the errors that the gate excludes


def test_the_interval_holds_the_share_of_trials_it_says() -> None:
    held = []
    for seed in range(40):
        table, found = simulated(seed=seed, count=100)
        errors = gated_errors(table, found, Gate())
        rows = np.ones(100, bool)
        low, high = errors.honest_interval(rows, 0.8)
        held.append(low <= errors.nees_over_3(rows) <= high)
    assert 0.6 <= np.mean(held) <= 0.95


def test_without_a_cut_the_interval_is_that_of_a_chi_square() -> None:
    table, found = simulated()
    errors = gated_errors(table, found, Gate(180.0, 90.0, 100.0))
    everything = np.ones(COUNT, bool)
    assert errors.nees_over_3(everything) == pytest.approx(table.squared_mahalanobis.mean() / 3.0, rel=0.01)
    expected = stats.chi2.ppf([0.025, 0.975], 3 * COUNT) / (3 * COUNT)
    np.testing.assert_allclose(errors.honest_interval(everything, 0.95), expected, rtol=2e-3)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_covariances_that_are_off_show(scale: float) -> None:
    table, found = simulated(scale)
    errors = gated_errors(table, found, Gate())
    everything = np.ones(COUNT, bool)
    low, high = errors.honest_interval(everything, 0.95)
    found_scale = errors.nees_over_3(everything)
    assert found_scale < low if scale < 1 else found_scale > high
    of_all = position_covariance_metrics(table, errors, 0.95)
    assert of_all is not None and of_all["median_over_honest"] == pytest.approx(scale, rel=0.1)


def test_wrong_pairs_do_not_move_the_median() -> None:
    table, found = simulated(strangers=60)
    figures = position_covariance_metrics(table, gated_errors(table, found, Gate()), 0.95)
    assert figures is not None
    assert figures["pairs"] == COUNT
    assert figures["median_over_honest"] == pytest.approx(1.0, abs=0.1)
    low, high = figures["median_over_honest_interval"]
    assert low < figures["median_over_honest"] < high
    assert figures["coverage"]["0.9"] == pytest.approx(0.9, abs=0.04)


def test_no_covariance_no_figures() -> None:
    table, found = simulated()
    blank = found.position_cov_m2 * np.nan
    outputs = answer(np.ones(COUNT), found.azimuth_deg, found.elevation_deg, found.range_m, position_cov_m2=blank)
    found = found_sources(outputs)
    table = match_sources(found, found)
    errors = gated_errors(table, found, Gate())
    assert position_covariance_metrics(table, errors, 0.95) is None
    assert np.isnan(errors.nees_over_3(np.ones(COUNT, bool)))
    assert np.isnan(errors.honest_interval(np.ones(COUNT, bool), 0.95)).all()
