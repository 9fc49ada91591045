"""Matching and GOSPA against brute force, gates, and errors for malformed outputs."""

import numpy as np
import pytest

from models.physics.geometry import Scenario
from pipeline.common.records import plain
from pipeline.metrics.estimators import chance_estimator
from pipeline.metrics.evaluation import STANDARD_GATE, STRICT_GATE, compute_metrics
from pipeline.metrics.matching import Gate, Sources, found_sources, gospa, match_sources, true_sources
from tests.estimates import MAX_SOURCES, answer, evaluated, noisy, one_scene, perfect, random_scenes, silent
from tests.references.matching import best_assignment, gospa_definition


def positions(sources: Sources, scene: int) -> np.ndarray:
    return sources.position_m[scene, : sources.num_sources[scene]]


def test_matching_equals_brute_force() -> None:
    scenes = random_scenes(60, seed=1)
    guesses = chance_estimator(Scenario())(scenes)
    num_sources = np.random.default_rng(3).integers(0, MAX_SOURCES + 1, 60)
    truth, found = true_sources(scenes), found_sources(guesses | {"num_sources": num_sources})
    table = match_sources(truth, found)
    for scene in range(60):
        rows = (table.scene == scene) & table.is_pair
        pairs = set(zip(table.true_slot[rows].tolist(), table.found_slot[rows].tolist(), strict=True))
        assert pairs == set(best_assignment(positions(truth, scene), positions(found, scene)))


def test_table_accounts_for_every_source_once() -> None:
    scenes = random_scenes(50, seed=4)
    truth, found = true_sources(scenes), found_sources(noisy(scenes, seed=5))
    table = match_sources(truth, found)
    for sources, slots in ((truth, table.true_slot), (found, table.found_slot)):
        listed = sorted(zip(table.scene[slots >= 0].tolist(), slots[slots >= 0].tolist(), strict=True))
        assert listed == [tuple(slot) for slot in np.argwhere(sources.used).tolist()]
    assert np.isnan(table.position_error_m[~table.is_pair]).all()
    assert np.all(np.diff(table.scene) >= 0)


def test_pair_columns_are_found_minus_true() -> None:
    scenes = random_scenes(40, seed=6)
    truth, found = true_sources(scenes), found_sources(noisy(scenes, seed=7))
    table = match_sources(truth, found)
    pairs = table.is_pair
    scene, true_slot, found_slot = table.scene[pairs], table.true_slot[pairs], table.found_slot[pairs]
    np.testing.assert_array_equal(
        table.range_error_m[pairs], found.range_m[scene, found_slot] - truth.range_m[scene, true_slot]
    )
    np.testing.assert_allclose(
        table.position_error_m[pairs],
        np.linalg.norm(found.position_m[scene, found_slot] - truth.position_m[scene, true_slot], axis=-1),
    )


def test_azimuth_difference_goes_the_short_way_round() -> None:
    scenes = {
        "num_sources": np.array([1]),
        "azimuth": np.radians([[179.0]]),
        "elevation": np.array([[0.0]]),
        "range_m": np.array([[2.0]]),
        "snr_db": np.array([0.0]),
    }
    table = evaluated(scenes, answer(np.array([1]), np.array([[-179.0]]), np.zeros((1, 1)), np.full((1, 1), 2.0))).table
    assert table.azimuth_error_deg[0] == pytest.approx(2.0)


@pytest.mark.parametrize(("gate", "name"), [(STANDARD_GATE, "standard"), (STRICT_GATE, "strict")])
def test_a_difference_on_the_gate_is_a_hit_and_one_beyond_is_not(gate: Gate, name: str) -> None:
    on_the_gate = (gate.azimuth_deg, -gate.elevation_deg, 2.0 + gate.range_m)
    assert one_scene(*on_the_gate)[name]["f1"] == 1.0
    for coordinate in range(3):
        beyond = list(on_the_gate)
        beyond[coordinate] = np.nextafter(beyond[coordinate], np.sign(beyond[coordinate]) * np.inf)
        assert one_scene(*beyond)[name]["f1"] == 0.0


def test_what_unused_slots_hold_is_ignored() -> None:
    scenes = random_scenes(20, seed=8)
    outputs = noisy(scenes, seed=9)
    rubbish = {key: np.nan_to_num(value, nan=1.0) if value.ndim > 1 else value for key, value in outputs.items()}
    assert plain(compute_metrics(evaluated(scenes, outputs))) == plain(compute_metrics(evaluated(scenes, rubbish)))


def test_an_estimate_that_is_not_finite_is_a_false_alarm() -> None:
    scenes = random_scenes(20, seed=10)
    outputs = perfect(scenes)
    outputs["position_m"][3, 0] = np.nan
    outputs["position_m"][4, 0] = np.inf
    metrics = compute_metrics(evaluated(scenes, outputs))
    assert metrics["invalid_estimates"] == 2
    assert metrics["standard"]["false_positives"] == metrics["standard"]["false_negatives"] == 2
    assert metrics["rmse_xyz_m"] == pytest.approx(0.0, abs=1e-12)
    assert metrics["gospa"]["missed_m2"] == metrics["gospa"]["false_m2"] == pytest.approx(2 * 0.5 / 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_sources": np.array([6] * 20)}, r"outputs.num_sources: expected 0 to 5, got 6 to 6"),
        ({"position_m": np.zeros((20, 5))}, r"outputs.position_m: expected shape \(20, 5, 3\), got \(20, 5\)"),
        ({"range_m": np.zeros(20)}, r"outputs: expected num_sources \[B\] and range_m \[B, K\]"),
    ],
)
def test_outputs_of_a_wrong_shape_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        found_sources(perfect(random_scenes(20, seed=0)) | change)


def test_missing_arrays_and_other_numbers_of_scenes_are_named() -> None:
    scenes = random_scenes(20, seed=0)
    outputs = perfect(scenes)
    del outputs["elevation_deg"]
    with pytest.raises(ValueError, match=r"outputs.elevation_deg: expected an array, got none"):
        found_sources(outputs)
    with pytest.raises(ValueError, match="20 true and 3 found"):
        match_sources(true_sources(scenes), found_sources(silent(3)))


# GOSPA


def test_gospa_equals_its_definition() -> None:
    scenes = random_scenes(60, seed=11)
    truth, found = true_sources(scenes), found_sources(noisy(scenes, seed=12))
    parts = gospa(truth, found, cutoff_m=0.3)
    expected = [gospa_definition(positions(truth, scene), positions(found, scene), 0.3) for scene in range(60)]
    np.testing.assert_allclose(parts.distance_m, expected, rtol=1e-9, atol=1e-12)
    assert min(parts.localisation_m2.max(), parts.missed_m2.max(), parts.false_m2.max()) > 0


def test_gospa_is_a_metric() -> None:
    scenes = [random_scenes(80, seed) for seed in (13, 14, 15)]
    first, second, third = (true_sources(item) for item in scenes)

    def distance(x: Sources, y: Sources) -> np.ndarray:
        return gospa(x, y, cutoff_m=4.0).distance_m

    np.testing.assert_allclose(distance(first, first), 0.0, atol=1e-12)
    np.testing.assert_allclose(distance(first, second), distance(second, first))
    assert np.all(distance(first, third) <= distance(first, second) + distance(second, third) + 1e-12)
    assert np.all(distance(first, second) > 0)


def test_gospa_of_silence_is_all_missed() -> None:
    scenes = random_scenes(30, seed=16)
    parts = gospa(true_sources(scenes), found_sources(silent(30)), cutoff_m=1.0)
    np.testing.assert_allclose(parts.distance_m, np.sqrt(scenes["num_sources"] / 2))
    assert parts.localisation_m2.sum() == parts.false_m2.sum() == 0
