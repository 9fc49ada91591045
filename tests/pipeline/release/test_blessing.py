"""Blessings: value and change thresholds, slices, and the text of the reasons."""

from pathlib import Path

import numpy as np
import pytest

from models.checked import from_json
from pipeline.bless.blessing import BLESSED, NOT_BLESSED, Answers, bless, slice_table
from pipeline.bless.thresholds import Slice, Threshold, ThresholdFile, read_thresholds
from tests.estimates import evaluated, noisy, perfect, random_scenes, silent

SCENES = random_scenes(400, seed=11)
WORLDS = np.repeat(["hall", "field"], 200)


def answers(outputs: dict[str, np.ndarray]) -> Answers:
    return Answers(evaluated(SCENES, outputs), WORLDS)


def spoiled(outputs: dict[str, np.ndarray], where: np.ndarray) -> dict[str, np.ndarray]:
    """The same answers, but without sources in some scenes."""
    nothing = silent(400)
    return {
        name: np.where(where.reshape(-1, *[1] * (value.ndim - 1)), nothing[name], value)
        for name, value in outputs.items()
        if name in nothing
    }


GOOD = answers(noisy(SCENES, seed=12))


def test_without_thresholds_there_is_no_blessing() -> None:
    found = bless((), GOOD, None)
    assert (found.verdict, found.reasons) == (NOT_BLESSED, ["no thresholds were given"])


def test_value_thresholds() -> None:
    value = float(GOOD.evaluation.standard.total().f1)
    assert bless([Threshold(metric="f1", at_least=value)], GOOD, None).verdict == BLESSED
    missed = bless(
        [Threshold(metric="f1", at_least=value + 1e-6), Threshold(metric="rmse_xyz_m", at_most=0.0)], GOOD, None
    )
    assert missed.verdict == NOT_BLESSED
    assert missed.reasons[0].startswith(f"f1, overall: {value:.4f}, required at least")
    assert missed.reasons[1].startswith("rmse_xyz_m, overall: ")


def test_the_same_answers_are_no_worse() -> None:
    allowed = [Threshold(metric=metric, worse_by_at_most=0.0) for metric in ("f1", "objective", "strict_f1", "recall")]
    assert bless(allowed, GOOD, GOOD).verdict == BLESSED


def test_a_first_model_has_nothing_to_be_worse_than() -> None:
    found = bless([Threshold(metric="f1", worse_by_at_most=0.0)], GOOD, None)
    assert found.verdict == BLESSED
    assert "no earlier blessed model to compare with" in found.checks[0].reason


@pytest.mark.parametrize(
    ("where", "named"),
    [
        (Slice(world="hall"), "f1, hall: "),
        (Slice(snr_db=(0.0, 5.0)), "f1, SNR 0 to 5 dB: "),
        (Slice(num_sources=4), "f1, 4 sources: "),
        (Slice(world="field", num_sources=2), "f1, field, 2 sources: "),
    ],
)
def test_a_model_made_worse_in_a_slice_is_not_blessed_and_the_slice_is_named(where: Slice, named: str) -> None:
    inside = np.ones(400, bool)
    if where.world:
        inside &= where.world == WORLDS
    if where.snr_db:
        inside &= (SCENES["snr_db"] >= where.snr_db[0]) & (SCENES["snr_db"] < where.snr_db[1])
    if where.num_sources:
        inside &= SCENES["num_sources"] == where.num_sources
    worse = answers(spoiled(noisy(SCENES, seed=12), inside))
    elsewhere = Slice(snr_db=(15.0, 20.0), num_sources=1, world="hall" if where.world != "hall" else "field")
    asked = [
        Threshold(metric="f1", **vars(where), worse_by_at_most=0.05),
        Threshold(metric="f1", **vars(elsewhere), worse_by_at_most=0.05),
    ]
    found = bless(asked, worse, GOOD)
    assert found.verdict == NOT_BLESSED
    (reason,) = found.reasons
    assert reason.startswith(named)
    assert "against the latest blessed model, allowed to be worse by at most 0.05" in reason
    rows = {row["slice"]: row for row in slice_table(worse, GOOD)}
    if where.world is None:
        assert rows[str(where)]["interval"][1] < 0


def test_sources_of_a_range_are_a_slice() -> None:
    """Only for recall and rmse, because a false alarm has no true range."""
    truth, table = SCENES, GOOD.evaluation.table
    where = Slice(range_m=(2.0, 5.0))
    tally = where.tally(GOOD.evaluation, WORLDS, "standard")
    used = np.arange(5) < truth["num_sources"][:, None]
    inside = used & (truth["range_m"] >= 2.0) & (truth["range_m"] < 5.0)
    np.testing.assert_array_equal(tally.true, inside.sum(axis=1))
    rows = table.is_true & (table.true_range_m >= 2.0) & (table.true_range_m < 5.0)
    assert tally.pairs.sum() == (rows & table.is_pair).sum()
    with pytest.raises(ValueError, match="expected recall or rmse_xyz_m in a slice by range, got f1"):
        Threshold(metric="f1", **vars(where), at_least=0.1)


def test_too_few_scenes_do_not_pass_for_no_change() -> None:
    """A handful of scenes gives a wide interval, and all of it must be within the limit."""
    few = slice(0, 12)
    scenes = {name: value[few] for name, value in SCENES.items()}
    pair = [
        Answers(evaluated(scenes, {k: v[few] for k, v in noisy(SCENES, seed=seed).items()}), WORLDS[few])
        for seed in (12, 13)
    ]
    assert bless([Threshold(metric="f1", worse_by_at_most=0.02)], *pair).verdict == NOT_BLESSED


def test_a_slice_without_scenes_has_no_value() -> None:
    found = bless([Threshold(metric="f1", world="moon", at_least=0.1)], GOOD, None)
    assert found.reasons == ["f1, moon: no value on 0 scenes"]


def test_every_scene_is_in_a_slice() -> None:
    rows = slice_table(answers(perfect(SCENES)), None)
    by_snr = [row["scenes"] for row in rows if row["slice"].startswith("SNR")]
    by_count = [row["scenes"] for row in rows if row["slice"].endswith("sources")]
    assert sum(by_snr) == sum(by_count) == 400
    assert [row["scenes"] for row in rows if row["slice"] in ("hall", "field")] == [200, 200]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"metric": "f2", "at_least": 0.5}, r"threshold\[0\].metric: expected one of f1, .*, got 'f2'"),
        (
            {"metric": "f1"},
            r"threshold\[0\].at_least: expected at_least, at_most or worse_by_at_most, got none",
        ),
        ({"metric": "f1", "at_leats": 0.5}, r"threshold\[0\].at_leats: unknown, expected one of .*at_least"),
        ({"metric": "f1", "at_least": 0.5, "snr_db": [5, 0]}, r"snr_db: expected ascending numbers, got \[5.0, 0.0\]"),
        ({"metric": "f1", "worse_by_at_most": -1.0}, "worse_by_at_most: expected 0 or more, got -1.0"),
        ({"metric": "f1", "at_least": float("nan")}, "at_least: expected a finite number"),
    ],
)
def test_thresholds_that_are_refused(table: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        from_json({"threshold": [table]}, ThresholdFile, "")


def test_slices_may_be_open() -> None:
    assert str(Slice(snr_db=(-np.inf, 0.0), range_m=(10.0, np.inf))) == "SNR below 0 dB, range from 10 m"


def test_thresholds_from_tables(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.toml"
    path.write_text('[[threshold]]\nmetric = "f1"\nsnr_db = [0, 5]\nnum_sources = 2\nat_least = 0.5')
    (found,) = read_thresholds(path)
    assert found == Threshold(metric="f1", snr_db=(0.0, 5.0), num_sources=2, at_least=0.5)
