"""Objective, bins, calibration and intervals of an evaluation against known values."""

import math

import numpy as np
import pytest

from models.physics.geometry import Scenario
from pipeline.common.records import plain
from pipeline.evaluate.summary import summary_lines
from pipeline.figures import plots
from pipeline.metrics.estimators import chance_estimator
from pipeline.metrics.evaluation import MetricsConfig, bin_index, compute_metrics
from pipeline.metrics.match_counts import MatchCounts, paired_difference, percentile_interval, resample_weights
from pipeline.metrics.matching import Gate
from tests.estimates import MAX_SOURCES, answer, evaluated, noisy, one_scene, perfect, random_scenes, silent

# The objective


def test_perfect_estimates() -> None:
    scenes = random_scenes(50, seed=17)
    metrics = compute_metrics(evaluated(scenes, perfect(scenes)))
    for gate in ("standard", "strict"):
        assert metrics[gate]["f1"] == metrics[gate]["precision"] == metrics[gate]["recall"] == 1.0
    assert metrics["rmse_xyz_m"] == pytest.approx(0.0, abs=1e-12)
    assert metrics["objective"] == pytest.approx(0.0, abs=1e-12)
    assert metrics["gospa"]["mean_m"] == pytest.approx(0.0, abs=1e-12)
    assert metrics["num_sources_accuracy"] == 1.0
    assert metrics["false_alarms_per_scene"] == 0.0


@pytest.mark.parametrize(("rmse_m", "hits", "objective"), [(4.433, 47, 12.1576), (3.967, 48, 11.9234)])
def test_the_findings_objective_is_reproduced(rmse_m: float, hits: int, objective: float) -> None:
    """Trials 0 and 1 of the findings: TP / 6012 sources, 10,000 estimates, F1 0.006."""
    tally = MatchCounts(
        true=np.array(6012.0),
        found=np.array(10_000.0),
        hits=np.array(float(hits)),
        pairs=np.array(6012.0),
        squared_error_m2=np.array(6012 * rmse_m**2),
        max_error_m=20.0,
    )
    assert round(float(tally.f1), 3) == 0.006
    assert float(tally.rmse_xyz_m) == pytest.approx(rmse_m)
    assert float(tally.objective) == pytest.approx(objective, abs=3e-4)  # the findings round rmse to 1 mm


def test_errors_are_held_against_the_bound_of_their_own_source() -> None:
    scenes = random_scenes(60, seed=3)
    missed = scenes["num_sources"] > 3
    answers = perfect(scenes)
    answers["position_m"] = answers["position_m"] + np.array([0.03, 0.0, 0.0])
    answers["num_sources"] = np.where(missed, scenes["num_sources"] - 1, scenes["num_sources"])
    used = np.arange(MAX_SOURCES) < scenes["num_sources"][:, None]
    for bound_m, ratio in ((0.03, 1.0), (0.01, 3.0)):
        known = scenes | {"bound_m": np.where(used, bound_m, np.nan)}
        metrics = compute_metrics(evaluated(known, answers))
        rows = [metrics, *metrics["by_range"]]
        assert [row["median_error_over_bound"] for row in rows] == pytest.approx([ratio] * len(rows))
        assert metrics["median_bound_m"] == pytest.approx(bound_m)
    assert np.isnan(compute_metrics(evaluated(scenes, answers))["median_error_over_bound"])


def test_rmse_counts_pairs_outside_the_gate() -> None:
    metrics = one_scene(0.0, 0.0, 5.0)
    assert metrics["standard"]["f1"] == 0.0
    assert metrics["rmse_xyz_m"] == pytest.approx(3.0)


def other_answers(scenes: dict) -> dict[str, dict]:
    """Outputs of every quality, including the worst possible ones."""
    count = len(scenes["snr_db"])
    chance = chance_estimator(Scenario())(scenes)
    far = np.full((count, MAX_SOURCES), 1e6)
    behind = 180.0 + np.degrees(scenes["azimuth"])
    first_only = {key: value.copy() for key, value in chance.items()}
    first_only["num_sources"][1:] = 0
    return {
        "chance": chance,
        "one guess in all": first_only,
        "noisy": noisy(scenes, seed=19),
        "perfect": perfect(scenes),
        "far beyond the field": answer(np.full(count, MAX_SOURCES), far * 0, far * 0, far),
        "opposite": answer(np.full(count, MAX_SOURCES), behind, -np.degrees(scenes["elevation"]), far * 0 + 10.0),
    }


def test_silence_is_worst() -> None:
    scenes = random_scenes(200, seed=18)
    silence = compute_metrics(evaluated(scenes, silent(200)))
    assert silence["standard"]["f1"] == 0.0
    assert silence["objective"] == 20.0 / 2.0 + 10.0
    objectives = {
        name: compute_metrics(evaluated(scenes, outputs))["objective"]
        for name, outputs in other_answers(scenes).items()
    }
    assert all(objective <= silence["objective"] for objective in objectives.values())
    assert max(objectives["chance"], objectives["opposite"]) < silence["objective"]
    assert objectives["perfect"] < objectives["noisy"] < objectives["chance"]


def test_no_error_exceeds_what_silence_is_charged() -> None:
    """No counts are worse than an empty result: rmse <= max_error_m and F1 >= 0, with equality for an empty result."""
    scenes = random_scenes(100, seed=20)
    outputs = other_answers(scenes)["far beyond the field"]
    tally = evaluated(scenes, outputs, max_error_m=7.0).standard
    assert np.all(tally.squared_error_m2 <= 49.0 * tally.pairs)
    assert tally.total().objective == pytest.approx(7.0 / 2.0 + 10.0)


def test_chance_scores_as_the_predecessor_s_trials_did() -> None:
    """Findings: five uniform guesses per scene have F1 0.009. It follows from the gate's share of the field of view."""
    scenes = random_scenes(2000, seed=21)
    metrics = compute_metrics(evaluated(scenes, chance_estimator(Scenario())(scenes)))
    low, high = metrics["standard"]["f1_interval"]
    assert low - 0.002 < 0.009 < high + 0.002
    assert 11.0 < metrics["objective"] < 13.0


def test_chance_does_not_depend_on_the_batch_size() -> None:
    scenes = random_scenes(12, seed=22)
    estimator = chance_estimator(Scenario(), seed=5)
    batches = [estimator({"snr_db": part}) for part in np.split(scenes["snr_db"], 4)]
    whole = chance_estimator(Scenario(), seed=5)(scenes)
    np.testing.assert_array_equal(np.concatenate([batch["range_m"] for batch in batches]), whole["range_m"])


# Bins


def test_snr_bins_add_up() -> None:
    scenes = random_scenes(300, seed=23)
    scenes["snr_db"][:2] = [-5.0, 20.0]
    metrics = compute_metrics(evaluated(scenes, noisy(scenes, seed=24)))
    for key in ("scenes", "sources", "estimates", "pairs"):
        assert sum(row[key] for row in metrics["by_snr"]) == metrics[key]
    for gate in ("standard", "strict"):
        for key in ("true_positives", "false_positives", "false_negatives"):
            assert sum(row[gate][key] for row in metrics["by_snr"]) == metrics[gate][key]
    assert metrics["by_snr"][0]["standard"]["f1"] < metrics["by_snr"][-1]["standard"]["f1"]


def test_scenes_of_any_reported_snr_are_counted() -> None:
    """99 of 2,000 scenes of l64_m64_impaired report an SNR outside -5 to 20 dB. An earlier version left them out."""
    scenes = random_scenes(120, seed=23)
    scenes["snr_db"][:7] = [-7.0, -5.5, 20.5, 22.0, 30.0, 20.0, -5.0]
    metrics = compute_metrics(evaluated(scenes, noisy(scenes, seed=24)))
    rows = metrics["by_snr"]
    assert [row["snr_db"] for row in (rows[0], rows[-1])] == [[-math.inf, -5.0], [20.0, math.inf]]
    assert [rows[0]["scenes"], rows[-1]["scenes"]] == [2, 4]
    for key in ("scenes", "sources", "estimates", "pairs"):
        assert sum(row[key] for row in rows) == metrics[key]
    lines = summary_lines(metrics)
    assert [line.split()[0] for line in lines[2:9]] == ["below", "-5", "0", "5", "10", "15", "from"]
    plots.plot_snr(metrics).canvas.draw()


def test_range_bins_add_up() -> None:
    scenes = random_scenes(300, seed=25)
    metrics = compute_metrics(evaluated(scenes, noisy(scenes, seed=26)))
    assert sum(row["sources"] for row in metrics["by_range"]) == metrics["sources"]
    hits = sum(row["sources"] * row["recall_standard"] for row in metrics["by_range"])
    assert hits == pytest.approx(metrics["standard"]["true_positives"])
    squares = sum(row["pairs"] * row["rmse_xyz_m"] ** 2 for row in metrics["by_range"])
    assert np.sqrt(squares / metrics["pairs"]) == pytest.approx(metrics["rmse_xyz_m"])


def test_a_slice_equals_an_evaluation_of_its_scenes() -> None:
    scenes = random_scenes(200, seed=27)
    outputs = noisy(scenes, seed=28)
    inside = (scenes["snr_db"] >= 5) & (scenes["snr_db"] < 10)
    row = compute_metrics(evaluated(scenes, outputs))["by_snr"][2]
    alone = compute_metrics(
        evaluated({key: value[inside] for key, value in scenes.items()}, {k: v[inside] for k, v in outputs.items()})
    )
    for key in ("scenes", "objective", "rmse_xyz_m", "median_position_error_m", "num_sources_accuracy"):
        assert row[key] == pytest.approx(alone[key])
    assert row["standard"]["f1"] == alone["standard"]["f1"]
    assert row["gospa"]["mean_m"] == pytest.approx(alone["gospa"]["mean_m"])


def test_bins_hold_their_lower_edge_and_the_last_one_both() -> None:
    values = np.array([-5.1, -5.0, 0.0, 19.9, 20.0, 20.1])
    np.testing.assert_array_equal(bin_index(values, (-5.0, 0.0, 20.0)), [-1, 0, 1, 1, 1, -1])


def test_number_of_sources() -> None:
    scenes = random_scenes(400, seed=29)
    outputs = noisy(scenes, seed=30)
    metrics = compute_metrics(evaluated(scenes, outputs))
    confusion = np.array(metrics["num_sources_confusion"])
    assert confusion.sum() == 400
    assert np.trace(confusion) / 400 == pytest.approx(metrics["num_sources_accuracy"])
    assert confusion[3, 2] == np.sum((scenes["num_sources"] == 3) & (outputs["num_sources"] == 2))


# Calibration


def single_sources(count: int) -> dict:
    """One source per scene, at boresight and a range of 4 m."""
    return {
        "num_sources": np.ones(count, int),
        "azimuth": np.zeros((count, 1)),
        "elevation": np.zeros((count, 1)),
        "range_m": np.full((count, 1), 4.0),
        "snr_db": np.zeros(count),
    }


@pytest.mark.extended
@pytest.mark.parametrize("overconfidence", [0.0, 0.2])
def test_calibration_error_is_the_built_in_one(overconfidence: float) -> None:
    rng = np.random.default_rng(31)
    probability = rng.uniform(0.05, 0.75, (6_000, 1))
    azimuth_deg = np.where(rng.random(probability.shape) < probability, 0.0, 20.0)
    count = len(probability)
    outputs = answer(
        np.ones(count), azimuth_deg, np.zeros((count, 1)), np.full((count, 1), 4.0), probability + overconfidence
    )
    calibration = compute_metrics(evaluated(single_sources(count), outputs))["calibration"]
    assert calibration["expected_calibration_error"] == pytest.approx(overconfidence, abs=0.02)
    assert sum(item["estimates"] for item in calibration["bins"]) == count
    for item in calibration["bins"]:
        assert item["score"][0] <= item["mean_score"] <= item["score"][1]


def test_scores_that_are_no_probabilities_have_no_calibration() -> None:
    scenes = random_scenes(20, seed=32)
    outputs = noisy(scenes, seed=33)
    assert compute_metrics(evaluated(scenes, outputs | {"score": 10.0 * outputs["score"]}))["calibration"] is None
    assert compute_metrics(evaluated(scenes, silent(20)))["calibration"] is None


def test_a_score_of_one_rounded_up_is_a_probability() -> None:
    scenes = random_scenes(20, seed=32)
    outputs = perfect(scenes)
    outputs["score"] = np.where(np.isnan(outputs["range_m"]), np.nan, np.float32(1.0000001))
    calibration = compute_metrics(evaluated(scenes, outputs))["calibration"]
    assert calibration["expected_calibration_error"] == 0.0


@pytest.mark.extended
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_nees_measures_how_honest_the_covariance_is(scale: float) -> None:
    rng = np.random.default_rng(34)
    count = 5000
    factor = 0.1 * np.array([[1.0, 0.0, 0.0], [0.4, 0.5, 0.0], [-0.2, 0.1, 0.3]])
    position = np.array([4.0, 0.0, 0.0]) + rng.normal(size=(count, 3)) @ factor.T
    range_m = np.linalg.norm(position, axis=-1, keepdims=True)
    azimuth_deg = np.degrees(np.arctan2(position[:, 1:2], position[:, :1]))
    elevation_deg = np.degrees(np.arcsin(position[:, 2:] / range_m))
    covariance = np.broadcast_to(factor @ factor.T / scale, (count, 1, 3, 3))
    outputs = answer(np.ones(count), azimuth_deg, elevation_deg, range_m, position_cov_m2=covariance)
    honesty = compute_metrics(evaluated(single_sources(count), outputs))["position_covariance"]
    assert honesty["hits"] == count
    assert honesty["nees_over_3"] == pytest.approx(scale, rel=0.05)
    if scale == 1.0:
        for probability, share in honesty["coverage"].items():
            assert share == pytest.approx(float(probability), abs=0.02)


# Intervals


def random_tally(rng: np.random.Generator, num_scenes: int, recall: float) -> MatchCounts:
    true = rng.integers(1, 6, num_scenes)
    hits = rng.binomial(true, recall)
    false_alarms = rng.poisson(0.3, num_scenes)
    pairs = np.minimum(true, hits + false_alarms)
    squared = np.array([np.sum(rng.normal(size=count) ** 2) for count in pairs])
    return MatchCounts(true * 1.0, (hits + false_alarms) * 1.0, hits * 1.0, pairs * 1.0, squared, max_error_m=20.0)


@pytest.mark.extended
def test_bootstrap_intervals_cover() -> None:
    """95 % intervals contain the true F1, 2 E hits / (E true + E found), and the true rmse, 1 m, in 95 % of trials."""
    rng = np.random.default_rng(35)
    repetitions, recall = 300, 0.7
    expected = {"f1": 2 * 3 * recall / (3 + 3 * recall + 0.3), "rmse_xyz_m": 1.0}
    covered = dict.fromkeys(expected, 0)
    for repetition in range(repetitions):
        tally = random_tally(rng, 120, recall)
        resampled = tally.resampled(resample_weights(120, 400, seed=repetition))
        for name, value in expected.items():
            low, high = percentile_interval(getattr(resampled, name), 0.95)
            covered[name] += low <= value <= high
    for name, count in covered.items():
        assert 0.91 <= count / repetitions <= 0.985, name


def test_resampling_a_known_mean_has_its_standard_error() -> None:
    values = np.random.default_rng(36).normal(size=500)
    weights = resample_weights(500, 4000, seed=0)
    assert np.all(weights.sum(axis=1) == 500)
    assert np.std(weights @ values / 500) == pytest.approx(values.std() / np.sqrt(500), rel=0.05)


def test_metrics_do_not_change_from_run_to_run_and_do_with_the_seed() -> None:
    scenes = random_scenes(60, seed=37)
    outputs = noisy(scenes, seed=38)
    first = compute_metrics(evaluated(scenes, outputs))
    assert plain(first) == plain(compute_metrics(evaluated(scenes, outputs)))
    other = compute_metrics(evaluated(scenes, outputs, seed=1))
    assert other["standard"]["f1"] == first["standard"]["f1"]
    assert other["standard"]["f1_interval"] != first["standard"]["f1_interval"]


def test_paired_difference_is_tighter_than_two_intervals() -> None:
    scenes = random_scenes(400, seed=39)
    outputs = noisy(scenes, seed=40)
    worse = {key: value.copy() for key, value in outputs.items()}
    worse["num_sources"][::10] = 0
    first, second = evaluated(scenes, outputs).standard, evaluated(scenes, worse).standard
    result = paired_difference(first, second, lambda tally: tally.f1, seed=1)
    low, high = result.interval
    assert result.difference == pytest.approx(float(first.total().f1 - second.total().f1))
    assert 0 < low < result.difference < high
    weights = resample_weights(400, 2000, seed=1)
    alone = percentile_interval(first.resampled(weights).f1, 0.95)
    assert high - low < alone[1] - alone[0]
    same = paired_difference(first, first, lambda tally: tally.f1)
    assert same.difference == 0.0 and same.interval == (0.0, 0.0)


def test_paired_difference_refuses_other_scenes() -> None:
    rng = np.random.default_rng(41)
    with pytest.raises(ValueError, match="same scenes"):
        paired_difference(random_tally(rng, 30, 0.5), random_tally(rng, 30, 0.5), lambda tally: tally.f1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"confidence": 1.0}, r"MetricsConfig.confidence: expected a number in \(0, 1\), got 1.0"),
        ({"max_error_m": 0.0}, r"MetricsConfig.max_error_m: expected a positive number, got 0.0"),
        ({"snr_edges_db": (5.0, 0.0)}, r"MetricsConfig.snr_edges_db: expected ascending numbers"),
    ],
)
def test_settings_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MetricsConfig(**settings)
    with pytest.raises(ValueError, match=r"Gate.range_m: expected a positive number"):
        Gate(range_m=0.0)
