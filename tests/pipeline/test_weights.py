"""Stages that take weights use the pretrained ones by default, and the classical estimator with --untrained."""

import dataclasses
from importlib import import_module
from pathlib import Path

import pytest

from models.physics.geometry import Scenario
from models.weights import PRETRAINED
from pipeline.common.stages import STAGES
from pipeline.common.weights import WeightsOptions
from pipeline.evaluate.options import EvaluateOptions
from pipeline.evaluate.runner import make_estimator

REQUIRED = {
    "bench": {},
    "calibrate": {"input": (Path("m.npz"),), "output": Path("c.npz")},
    "confidence": {"run_dir": Path("run")},
    "evaluate": {"output_dir": Path("out")},
    "export": {"model_base_path": Path("models")},
    "refine": {"run_dir": Path("run")},
}


def options_of(stage: str) -> type:
    """The class of a stage's options."""
    name = "".join(part.capitalize() for part in stage.split("_")) + "Options"
    found = getattr(import_module(f"pipeline.{stage}.options"), name)
    assert isinstance(found, type)
    return found


def test_stages_with_an_untrained_option_are_these() -> None:
    fields = {stage: {field.name for field in dataclasses.fields(options_of(stage))} for stage in STAGES}
    assert {stage for stage, names in fields.items() if "untrained" in names} == set(REQUIRED)
    for stage in ("benchmark", "doctor", "tradeoff"):
        defaults = {field.default for field in dataclasses.fields(options_of(stage))}
        assert PRETRAINED in defaults, stage


@pytest.mark.parametrize("stage", REQUIRED)
def test_pretrained_unless_told_otherwise(stage: str) -> None:
    make = options_of(stage)
    default, untrained = make(**REQUIRED[stage]), make(**REQUIRED[stage], untrained=True)
    assert isinstance(default, WeightsOptions) and isinstance(untrained, WeightsOptions)
    assert default.weights == PRETRAINED
    assert untrained.weights is None
    assert make(**REQUIRED[stage], backbone=Path("mine.keras")).weights == Path("mine.keras")
    with pytest.raises(ValueError, match=r"^--untrained: expected no --backbone, got --backbone mine\.keras$"):
        make(**REQUIRED[stage], backbone=Path("mine.keras"), untrained=True)


def test_evaluate_without_an_estimator_takes_the_pretrained_localizer(tmp_path: Path) -> None:
    name, _ = make_estimator(EvaluateOptions(tmp_path), Scenario())
    assert str(PRETRAINED) in name
    name, _ = make_estimator(EvaluateOptions(tmp_path, untrained=True), Scenario())
    assert "untrained" in name
