"""Parts of `python -m pipeline.tune`: the space, the gate, what is counted of a study and its report."""

import dataclasses
import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from models.covariance_estimator.config import BackboneConfig, RefinementConfig
from pipeline.common.digests import content_digest
from pipeline.common.hyperparameters import flattened, option, read_hyperparameters, replaced
from pipeline.common.verdict import GateClosed, require_verdict
from pipeline.metrics.match_counts import Difference, MatchCounts
from pipeline.train.options import TrainOptions
from pipeline.tune.options import InferenceOptions, TuneOptions
from pipeline.tune.report import write_report
from pipeline.tune.results import Row, cost, importances, rank_correlation, surrogate_against_objective
from pipeline.tune.separation import best_minus_defaults, seed_noise, separation
from pipeline.tune.space import (
    INFERENCE_SPACE,
    SHAPE,
    TRAINING_SPACE,
    Choice,
    Range,
    Space,
    hyperparameters,
    read_space,
    searched,
)
from pipeline.tune.study import Study
from pipeline.tune.surrogate import Surrogate, pairs_inside
from pipeline.tune.trial import Outcome, own_values, whole_record

OPTIONS = TrainOptions(Path("unused"))
INFERENCE = TuneOptions(Path("unused"), knobs="inference").base()


# Values and options


def test_values_reach_the_options_they_name_and_no_other() -> None:
    values = {"learning_rate": 1, "backbone.refinement.steps": 9, "backbone.width": 8, "config": ["l64_random"]}
    changed = replaced(OPTIONS, values)
    expected = BackboneConfig(width=8, refinement=RefinementConfig(steps=9))
    assert changed == dataclasses.replace(OPTIONS, learning_rate=1.0, backbone=expected, config=("l64_random",))
    assert isinstance(changed.learning_rate, float)


def test_a_whole_record_brings_back_all_options_through_json(tmp_path: Path) -> None:
    tuned = replaced(OPTIONS, {"shrinkage.base_alpha": 0.01, "backbone.refinement.noise_range_db": (-1.0, 2.0)})
    tuned = dataclasses.replace(tuned, epochs=3, seed=5, initial=Path("some.keras"))
    path = tmp_path / "best.json"
    path.write_text(json.dumps({"options": whole_record(tuned)}))
    assert replaced(OPTIONS, read_hyperparameters(path)) == tuned
    assert flattened(tuned)["backbone.refinement.noise_range_db"] == (-1.0, 2.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backbone.widht": 8}, "expected the name of an option, got 'backbone.widht'"),
        ({"width": 8}, "expected the name of an option, got 'width'"),
        ({"backbone.width.more": 8}, "expected the name of an option, got 'backbone.width.more'"),
        ({"backbone.width": 8.5}, "backbone.width: expected a whole number, got 8.5"),
        ({"backbone.width": 0}, "backbone.width: expected 1 or more, got 0"),
    ],
)
def test_values_that_do_not_fit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        replaced(OPTIONS, values)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"options": 3}', '{"values": {}}'])
def test_a_file_that_is_no_best_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "best.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"--hyperparameters: expected a best\.json .*, got .*best\.json"):
        read_hyperparameters(path)


# The space


@pytest.mark.parametrize(("space", "base"), [(TRAINING_SPACE, OPTIONS), (INFERENCE_SPACE, INFERENCE)])
def test_every_default_lies_inside_and_every_end_is_accepted(
    space: Space, base: TrainOptions | InferenceOptions
) -> None:
    found = hyperparameters(searched(space, base), base)
    assert {parameter.name: parameter.default for parameter in found.space} == {
        name: option(base, name) for name in space
    }


def test_no_knob_is_of_both_kinds_and_none_of_training_is_one_of_inference() -> None:
    assert not set(TRAINING_SPACE) & set(INFERENCE_SPACE)
    with pytest.raises(
        ValueError, match=r"expected backbone\.refinement\.\* and localizer\.\* .*, got backbone\.width"
    ):
        searched({"backbone.width": Choice((4, 8))}, INFERENCE)


def test_given_weights_hold_their_shape() -> None:
    space = {**TRAINING_SPACE, "backbone.stages": Range(1, 3)}
    free = searched(space, dataclasses.replace(OPTIONS, initial=Path("some.keras")))
    assert set(space) - set(free) == set(SHAPE)


def test_a_space_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "space.json"
    path.write_text('{"learning_rate": {"low": 1e-5, "high": 1e-4, "log": true}, "backbone.width": {"values": [4, 8]}}')
    assert read_space(path) == {"learning_rate": Range(1e-5, 1e-4, log=True), "backbone.width": Choice((4, 8))}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "space.json: expected JSON, got: "),
        ("[]", "space.json: expected a table, got []"),
        ('{"learning_rate": {"low": 1}}', "--space: learning_rate: expected low and high, or values"),
        ('{"learning_rate": {"low": 1, "high": 1}}', "expected low < high, got 1, 1"),
        ('{"learning_rate": {"low": 0, "high": 1, "log": true}}', "expected low > 0 on a log scale"),
        ('{"learning_rate": {"values": [1]}}', "expected two values or more"),
        ('{"rate": {"low": 1, "high": 2}}', "expected the name of an option, got 'rate'"),
        ('{"losses.stein": {"low": -1, "high": 2}}', "losses.stein: expected 0 or more, got -1"),
        ('{"backbone.width": {"low": 1.5, "high": 2}}', "backbone.width: expected a whole number, got 1.5"),
        ("{}", "--space: expected an option that can change, got none"),
    ],
)
def test_spaces_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "space.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        searched(read_space(path), OPTIONS)


def test_a_trials_own_values_are_the_same_after_float32() -> None:
    values = {"learning_rate": 0.001234, "backbone.width": 8, "tuner/epochs": 2}
    through_grpc = {**values, "learning_rate": float(np.float32(0.001234))}
    assert own_values(values) == own_values(through_grpc) == {"learning_rate": 0.001234, "backbone.width": 8}


@pytest.mark.parametrize(
    ("field", "value"),
    [("seed", 0), ("seeds", 0), ("trials", 0), ("gate_after", 1), ("lease_s", 0.0), ("probe_scenes", 0)],
)
def test_options_that_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"--{field.replace('_', '-')}: expected"):
        TuneOptions(Path("unused"), **{field: value})


def test_hyperband_has_nothing_to_do_where_nothing_is_trained() -> None:
    with pytest.raises(ValueError, match="--search: expected random or bayesian with --knobs inference, got hyperband"):
        TuneOptions(Path("unused"), knobs="inference", search="hyperband")


# The surrogate


def test_an_atom_serves_one_source() -> None:
    """A close pair with one peak between them was found twice once: an F1 of 1.33."""
    assert pairs_inside(np.array([[True], [True]])) == 1
    assert pairs_inside(np.array([[True, True], [True, False]])) == 2  # the first leaves its peak to the second
    assert pairs_inside(np.zeros((5, 4), bool)) == 0
    surrogate = Surrogate(None, [{}])  # type: ignore[arg-type]
    two_sources_one_atom = {"near": [[[True], [True]]], "found": [1.0], "sources": [2.0], "stein": [0.0]}
    terms = {name: tf.constant(value) for name, value in (two_sources_one_atom | {"misalignment": [0.0]}).items()}
    surrogate.step = lambda batch: terms
    assert surrogate(lambda: None) == pytest.approx(1.0 - 2.0 / 3.0)  # F1 was 4/3 once


# The gate


def verdict(path: Path, **changes: Any) -> Path:
    record = {
        "verdict": "PASS",
        "reason": "better",
        "options": {"config": "l64_m64_512_64_128"},
        "model": "a" * 64,
        "started_from": "untrained",
    }
    path.write_text(json.dumps({**record, **changes}))
    return path


def test_a_pass_on_scenes_of_the_same_kind_opens(tmp_path: Path) -> None:
    passed = verdict(tmp_path / "learnability.json")
    require_verdict(passed, None, "l64_m64_4_2_2")
    require_verdict(passed, None, "l64_random", "l64_m64")
    with pytest.raises(GateClosed, match="on scenes like l64_random or l64_m64_legacy, got one on l64_m64_512_64_128"):
        require_verdict(passed, None, "l64_random", "l64_m64_legacy")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": "FAIL", "reason": "no gain beyond the noise"}, "got FAIL in .*: no gain beyond the noise"),
        ({"options": {"config": "l64_random"}}, "on scenes like l64_m64_4_2_2, got one on l64_random"),
        ({"options": {}}, "got none at"),
        ({"started_from": "b" * 64}, "about the untrained backbone, got one about a{12}, trained from b{12}"),
    ],
)
def test_other_verdicts_do_not(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GateClosed, match=message):
        require_verdict(verdict(tmp_path / "learnability.json", **changes), None, "l64_m64_4_2_2")


def test_given_weights_need_the_verdict_on_themselves(tmp_path: Path) -> None:
    """Wherever they lie; one on the training that began with them is none on them."""
    weights = tmp_path / "weights"
    weights.write_text("weights")
    own = verdict(tmp_path / "own.json", model=content_digest(weights), started_from="b" * 64)
    require_verdict(own, weights.rename(tmp_path / "elsewhere"), "l64_m64")
    later = verdict(tmp_path / "later.json", started_from=content_digest(tmp_path / "elsewhere"))
    with pytest.raises(GateClosed, match=r"is about .*elsewhere \([0-9a-f]{12}\), got one about aaaaaaaaaaaa"):
        require_verdict(later, tmp_path / "elsewhere", "l64_m64")


def test_no_verdict_does_not(tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text('{"verdict": "PA')
    for path in (None, tmp_path / "nowhere.json", tmp_path / "torn.json"):
        with pytest.raises(GateClosed, match=r"--learnability: expected the learnability\.json .*, got none"):
            require_verdict(path, None, "l64_m64")


Candidate = list[MatchCounts]


def candidates(recalls: list[float], scenes: int, seed: int, shared: float = 0.0, seeds: int = 1) -> list[Candidate]:
    """Answers that hit each of 3 sources a scene with that probability; `shared` of the scenes alike for all.

    With several seeds, that of a training is off by a normal hundredth.
    """
    rng = np.random.default_rng(seed)
    alike, same = rng.uniform(size=(scenes, 3)), rng.uniform(size=scenes) < shared

    def answers(recall: float) -> MatchCounts:
        draw = np.where(same[:, None], alike, rng.uniform(size=(scenes, 3)))
        hits = np.sum(draw < recall, axis=1).astype(float)
        every = np.full(scenes, 3.0)
        return MatchCounts(every, every, hits, every, 0.3 * (3.0 - hits) + 0.01, 20.0)

    off = rng.normal(0.0, 0.01 * (seeds > 1), (len(recalls), seeds))
    return [[answers(recall + one) for one in offs] for recall, offs in zip(recalls, off, strict=True)]


@pytest.mark.extended
@pytest.mark.parametrize("seeds", [1, 2])
def test_candidates_alike_but_for_noise_are_told_apart_one_time_in_twenty(seeds: int) -> None:
    """At most: what seeds do is measured on the same scenes, so that a part of the scenes' noise counts twice."""
    draws = [
        separation(candidates([0.9] * 6, 300, seed, seeds=seeds), resamples=300).exceeds_noise for seed in range(200)
    ]
    assert np.sum(draws) <= stats.binom.ppf(0.999, 200, 0.05) + 4  # few scenes: the bootstrap is a little narrow
    assert np.sum(draws) >= (1 if seeds == 1 else 0)


@pytest.mark.extended
def test_seeds_that_matter_are_noise_that_scenes_alone_do_not_show() -> None:
    """All scenes alike for all candidates, which differ by their seeds alone."""
    found = candidates([0.9] * 6, 1000, 2, shared=1.0, seeds=2)
    first = [trainings[:1] for trainings in found]
    assert separation(first).exceeds_noise
    assert not separation(found).exceeds_noise
    assert "6 candidates: spread of the objective" in str(separation(found))
    assert str(separation(found)).endswith("that noise of scenes and 2 seeds alone gives")


def test_seed_noise_is_that_of_a_mean_over_seeds() -> None:
    """With many candidates the variance is known; with few its draws have chi-square's heavy tails."""
    rng = np.random.default_rng(0)
    known = seed_noise(rng.normal(0.0, 0.3, (500, 2)) + rng.normal(0.0, 5.0, (500, 1)), 3, 4000, 0)
    assert known.std() == pytest.approx(0.3 / np.sqrt(2.0), rel=0.1)
    assert not seed_noise(rng.normal(size=(6, 1)), 2, 10, 0).any()
    few = seed_noise(np.array([[1.0, 1.6]]), 1, 4000, 0)
    assert np.quantile(np.abs(few), 0.95) == pytest.approx(stats.t.ppf(0.975, 1) * 0.3, rel=0.2)


def test_the_best_minus_the_defaults_covers_what_seeds_do() -> None:
    best, defaults = candidates([0.9, 0.9], 400, 5, shared=1.0, seeds=2)
    others = [[1.0, 1.2], [1.1, 1.0], [1.3, 1.2], [0.9, 1.1]]
    found = best_minus_defaults(best, defaults, others)
    expected = np.mean(
        [one.total().objective - other.total().objective for one, other in zip(best, defaults, strict=True)]
    )
    assert found.difference == pytest.approx(expected)
    alone = best_minus_defaults(best[:1], defaults[:1], [])
    assert np.ptp(found.interval) > 1.5 * np.ptp(alone.interval)
    assert found.interval[0] < 0.0 < found.interval[1]
    with pytest.raises(ValueError, match="expected both on the same scenes"):
        best_minus_defaults(best, [dataclasses.replace(defaults[0], true=defaults[0].true + 1)], [])


def test_best_json_needs_a_best_that_is_not_worse_than_the_defaults(tmp_path: Path, monkeypatch) -> None:
    """It was written even where it was worse once."""
    study = object.__new__(Study)
    study.options, study.notes = TuneOptions(tmp_path, test_scenes=2), []
    study.logger = logging.getLogger("test")
    outcome = Outcome(0.5, 0.5, 0.9, 0.3, scenes=4, best_epoch=1, epochs=1, seconds=1.0)
    monkeypatch.setattr(Study, "_record", lambda self, values: {})
    for difference, written in ((0.1, "best_trial.json"), (-0.1, "best.json"), (0.0, "best.json")):
        against = Difference(difference, (difference - 0.2, difference + 0.2))
        monkeypatch.setattr(Study, "_against_defaults", lambda *_, against=against: against)
        study._write_best([Row(0, {}, (outcome,))])
        assert [path.name for path in tmp_path.glob("best*.json")] == [written]


def test_candidates_that_differ_are_told_apart_and_pairing_makes_it_sharper() -> None:
    recalls = [0.84, 0.86, 0.88, 0.9]
    apart, paired = (separation(candidates(recalls, 1000, 1, shared)) for shared in (0.0, 0.9))
    assert apart.exceeds_noise
    assert paired.exceeds_noise
    assert paired.noise < 0.6 * apart.noise


def test_identical_candidates_are_not_told_apart() -> None:
    one = candidates([0.9], 100, 0)[0]
    found = separation([one, one, one])
    assert not found.exceeds_noise
    assert str(found) == (
        "3 candidates: spread of the objective 0.0000, not above the 0.0000 that noise of scenes alone gives"
    )


def test_separation_needs_the_same_scenes() -> None:
    first, (second,) = candidates([0.9, 0.9], 100, 0)
    for found in ([first], [first, [dataclasses.replace(second, true=second.true + 1)]]):
        with pytest.raises(ValueError, match="two candidates or more on the same scenes"):
            separation(found)


# Figures and the report


def test_rank_correlations_interval_covers() -> None:
    """Bivariate normal pairs: Spearman's rho is 6 / pi asin(r / 2)."""
    rng, r = np.random.default_rng(0), 0.8
    truth, covered = 6.0 / np.pi * np.arcsin(r / 2.0), 0
    for _ in range(300):
        first, noise = rng.normal(size=(2, 24))
        found = rank_correlation(first, r * first + np.sqrt(1.0 - r**2) * noise)
        covered += found.interval[0] <= truth <= found.interval[1]
    assert 0.90 * 300 <= covered <= 300


def test_rank_correlation_of_too_little() -> None:
    assert np.isnan(rank_correlation([1.0, 2.0], [1.0, 2.0]).rho)
    assert np.isnan(rank_correlation([1.0 + 1e-8 * k for k in range(9)], list(range(9))).rho)
    assert rank_correlation([1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 7]).rho == 1.0


def study(count: int) -> list[Row]:
    """Trials whose surrogate depends on the learning rate alone; one failed."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        values = {"learning_rate": float(10.0 ** rng.uniform(-5, -2)), "backbone.width": int(rng.choice([8, 16, 24]))}
        surrogate = 3.0 + abs(np.log10(values["learning_rate"]) + 3.0)
        outcome = Outcome(surrogate, 2.0 * surrogate, 0.9, 0.3, 100, 1, 2, 5.0)
        found.append(Row(number, values, () if number == 3 else (outcome,)))
    return found


def test_importance_goes_to_what_matters() -> None:
    found = importances(study(30))
    assert next(iter(found)) == "learning_rate"
    assert found["learning_rate"] > 0.9
    assert sum(found.values()) == pytest.approx(1.0)
    assert importances(study(4)) == {}


def test_what_the_surrogate_costs_is_a_median_over_trials_that_know_it() -> None:
    first = study(3)
    assert "was not measured" in cost(first)
    for number, times in enumerate([(1.0, 10.0), (2.0, 16.0), (9.0, 20.0)]):
        outcome = Outcome(3.0, 6.0, 0.9, 0.3, 100, 1, 2, 5.0, *times)
        first[number] = dataclasses.replace(first[number], outcomes=(outcome,))
    assert cost(first) == "the surrogate takes 2.0 ms of CPU time a scene, MVDR-final 16.0: 0.12 of it"


def test_the_report_holds_everything_itself(tmp_path: Path) -> None:
    first = study(12)
    space = {"learning_rate": Range(1e-5, 1e-2, log=True), "backbone.width": Choice((8, 16, 24))}
    path = tmp_path / "report.html"
    write_report(path, "a <study>", ["--force: forced & said"], first, first[:3], space)
    page = path.read_text()
    assert page.count("<svg") == 6
    assert not re.search(r"<script|<link|<img|src=|@import|url\(http", page)
    assert "<h1>a &lt;study&gt;</h1>" in page
    assert "--force: forced &amp; said" in page
    assert str(surrogate_against_objective(first)) in page
    assert page.count("<td>failed</td>") == 1
    assert all(name in page for name in space)
