"""The benchmark of `pipeline.bench`: it runs, and prints what it promises."""

import json
import re
import sys
from pathlib import Path

import pytest

from models.localizer import Localizer
from pipeline import bench

PROMISED = (
    "sequential maximum likelihood",
    "localizer, batch 2",
    "localizer with a refiner, batch 2",
    "localizer, batch 1",
    "  grid stages",
    "  R_pred",
    "  MVDR spectrum and its peaks",
    "training step",
)


def test_every_part_is_timed(tiny_localizer: Localizer, tmp_path: Path, monkeypatch, capsys) -> None:
    tiny_localizer.weights.save(tmp_path / "backbone.keras")
    options = ["--backbone", tmp_path / "backbone.keras", "--scenes", "2", "--repeats", "1"]
    options += ["--output", tmp_path / "bench.json", "--log-dir", tmp_path / "logs"]
    monkeypatch.setattr(sys, "argv", ["bench", *map(str, options)])
    bench.main()
    lines = capsys.readouterr().out.splitlines()[-len(PROMISED) - 2 :]
    assert lines[0] == "2 scenes of l64_m64, fastest of 1"
    assert re.split(r"  +", lines[1].strip()) == ["ms a scene", "scenes/s", "times faster"]
    found = json.loads((tmp_path / "bench.json").read_text())["ms_a_scene"]
    assert tuple(found) == PROMISED
    for line, (name, milliseconds) in zip(lines[2:], found.items(), strict=True):
        shown = [float(value) for value in line.removeprefix(name).split()]
        ratio = found[PROMISED[0]] / milliseconds
        assert shown == pytest.approx([milliseconds, 1e3 / milliseconds, ratio], rel=0.01, abs=0.051)


def test_a_config_that_is_none_is_refused(refused, tmp_path: Path) -> None:
    assert "--config: expected one of l64_m64, " in refused("bench", "--config", "none", "--log-dir", tmp_path)
