"""`pipeline.bench` runs and prints all run times."""

import dataclasses
import json
import re
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import tensorflow as tf

from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import GridConfig
from models.localizer_weights import LocalizerWeights
from models.physics.geometry import Scenario
from pipeline.bench import __main__ as bench
from pipeline.bench import timing
from serving.bench import ServedFigures
from tests.conftest import TINY

PROMISED = (
    "sequential maximum likelihood",
    "localizer, fast, batch 2",
    "localizer, default, batch 2",
    "localizer, thorough, batch 2",
    "untrained localizer, batch 2",
    "localizer with a refiner, batch 2",
    "localizer, batch 1",
    "  grid stages",
    "  R_pred",
    "  MVDR spectrum and its peaks",
    "training step",
    "simulation of a scene",
)


@pytest.mark.stage("bench")
def test_every_part_is_timed(eagerly, tmp_path: Path, monkeypatch, capsys) -> None:
    """Runs eagerly and once; other tests trace the same functions."""

    def once(action: Callable[[], object], repeats: int) -> float:
        started = time.perf_counter()
        action()
        return time.perf_counter() - started

    monkeypatch.setattr(timing, "seconds", once)
    config = dataclasses.replace(TINY, grid=GridConfig(11, 13, 5))  # the grid of the spectrum is a multiple of it
    LocalizerWeights(Backbone(Scenario(), config)).save(tmp_path / "backbone.keras")
    options = ["--backbone", tmp_path / "backbone.keras", "--scenes", "2", "--repeats", "1", "--multipath.rounds", "0"]
    options += ["--output", tmp_path / "bench.json", "--log-dir", tmp_path / "logs"]
    monkeypatch.setattr(sys, "argv", ["bench", *map(str, options)])
    bench.main()
    lines = capsys.readouterr().out.splitlines()[-len(PROMISED) - 2 :]
    assert lines[0] == "2 scenes of l64_m64, fastest of 1"
    assert re.split(r"  +", lines[1].strip()) == ["ms per scene", "scenes/s", "times faster"]
    found = json.loads((tmp_path / "bench.json").read_text())["ms_a_scene"]
    assert tuple(found) == PROMISED
    for line, (name, milliseconds) in zip(lines[2:], found.items(), strict=True):
        shown = [float(value) for value in line.removeprefix(name).split()]
        ratio = found[PROMISED[0]] / milliseconds
        assert shown == pytest.approx([milliseconds, 1e3 / milliseconds, ratio], rel=0.01, abs=0.051)


def test_the_shortest_time_after_a_warm_up_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 9.0, 10.0, 13.0, 20.0, 22.0, 30.0, 34.0])
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert timing.seconds(lambda: [tf.zeros(2)], 3) == 2.0


def test_the_record_of_the_release_holds_what_the_bench_measures() -> None:
    """Checks names and signs only; the times depend on the machine."""
    root = Path(__file__).parents[2]
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    record = json.loads((root / "docs" / "benchmarks" / f"{version}.json").read_text())
    assert set(record) == {"options", "cores", "ms_a_scene", "served"}
    names = [name.replace("batch 2", f"batch {record['options']['scenes']}") for name in PROMISED]
    assert [name for name in record["ms_a_scene"] if name != "localizer, batch 8"] == names
    assert all(value > 0 for value in (*record["ms_a_scene"].values(), *record["served"].values()))
    assert set(record["served"]) == {figure.name for figure in dataclasses.fields(ServedFigures)}


def test_a_config_that_is_none_is_refused(refused, tmp_path: Path) -> None:
    assert "config: expected one of l64_m64, " in refused("bench", "--config", "none", "--log-dir", tmp_path)
