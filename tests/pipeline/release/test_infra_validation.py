"""The canary server: a sound model is valid; one with other answers, another signature or torn files is invalid."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.physics.geometry import Scenario
from pipeline.infra_validate import infra_validation, signature
from pipeline.infra_validate.infra_validation import differences, validate_infrastructure
from pipeline.infra_validate.options import InfraConfig
from pipeline.infra_validate.signature import signature_faults
from pipeline.metrics.estimators import latest_version

GENEROUS = InfraConfig(scenes=2, max_latency_ms=1e6, max_memory_mib=1e6)


@pytest.mark.extended
def test_a_sound_model_is_valid(tiny_model: Path) -> None:
    found = validate_infrastructure(latest_version(tiny_model), Scenario(), GENEROUS)
    assert (found.verdict, found.reasons) == ("VALID", [])
    assert found.latency_ms is not None
    assert found.latency_ms > 0
    assert found.memory_mib is not None
    assert found.memory_mib > 100


@pytest.mark.extended
def test_limits_and_answers_that_differ_are_each_named(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One server is enough: the answers in process are slightly off, and both limits are too low."""
    real = infra_validation.saved_model_estimator

    def off(version: Path):
        estimate = real(version)
        return lambda scenes: {
            name: value + 0.01 if name == "range_m" else value for name, value in estimate(scenes).items()
        }

    monkeypatch.setattr(infra_validation, "saved_model_estimator", off)
    tight = dataclasses.replace(GENEROUS, max_latency_ms=1e-3, max_memory_mib=1.0)
    found = validate_infrastructure(latest_version(tiny_model), Scenario(), tight)
    assert found.verdict == "INVALID"
    grpc, rest, latency, memory = found.reasons
    assert grpc.startswith("gRPC: range_m: off by ")
    assert rest.startswith("REST: range_m: off by ")
    assert latency.startswith("a request of one scene: ")
    assert memory.startswith("the server's memory: ")


@pytest.mark.extended
def test_a_torn_model_is_invalid_and_says_why(tiny_model: Path, tmp_path: Path) -> None:
    version = tmp_path / "model" / "1"
    shutil.copytree(latest_version(tiny_model), version)
    graph = version / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:1000])
    found = validate_infrastructure(version, Scenario(), GENEROUS)
    assert found.verdict == "INVALID"
    assert len(found.reasons) == 1
    assert "\n" not in found.reasons[0]


def test_the_signature_is_the_golden_one(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = latest_version(tiny_model)
    assert signature_faults(version) == []
    inputs, outputs = signature.GOLDEN["serving_default"]
    other = ({**inputs, "snr_db": ("float64", ("B",))}, {**outputs, "depth_m": ("float32", ("B", "K"))})
    monkeypatch.setitem(signature.GOLDEN, "serving_default", other)
    faults = signature_faults(version)
    assert faults[0] == "serving_default, input snr_db: expected float64 [B], got float32 [-1]"
    assert faults[1].startswith("serving_default, outputs: expected azimuth_deg, depth_m, elevation_deg, ")
    monkeypatch.setitem(signature.GOLDEN, "locate", other)
    assert "signature locate: expected one, got none" in signature_faults(version)


def test_answers_are_compared_slot_by_slot() -> None:
    names = ("azimuth_deg", "elevation_deg", "range_m", "power_db", "score", "position_m")
    expected = {name: np.array([[1.0, np.nan]]) for name in names} | {"num_sources": np.array([1])}
    assert differences(expected, expected, 1e-3) == []
    assert differences({**expected, "score": np.array([[1.01, np.nan]])}, expected, 1e-3) == [
        "score: off by 0.01, allowed at most 0.001"
    ]
    assert differences({**expected, "score": np.array([[1.0, 1.0]])}, expected, 1e-3)
    assert differences({**expected, "num_sources": np.array([2])}, expected, 1e-3) == [
        "num_sources: expected [1], got [2]"
    ]
    assert differences({"num_sources": expected["num_sources"]}, expected, 1e-3)[0].startswith("expected the outputs")
