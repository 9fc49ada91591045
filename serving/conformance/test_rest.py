"""The REST port: predict in row and column form, status, metadata, and errors as JSON."""

from typing import Any

import numpy as np
import pytest

from serving.conformance.conftest import SOURCES
from serving.conformance.test_predict import assert_same_sources


@pytest.fixture(scope="module")
def path(model_name: str) -> str:
    return f"/v1/models/{model_name}"


@pytest.fixture(scope="module")
def columns(real_inputs) -> dict[str, Any]:
    return {"signature_name": "localize_real", "inputs": {name: value.tolist() for name, value in real_inputs.items()}}


@pytest.fixture(scope="module")
def rows(real_inputs) -> dict[str, Any]:
    scenes = range(len(real_inputs["snr_db"]))
    instances = [{name: value[scene].tolist() for name, value in real_inputs.items()} for scene in scenes]
    return {"signature_name": "localize_real", "instances": instances}


def arrays(outputs: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.array(outputs[name], dtype) for name, (dtype, _) in SOURCES.items()}


def test_predict_by_column(rest, path: str, columns, located) -> None:
    answer = rest.ask(f"{path}:predict", columns)
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert set(answer.json) == {"outputs"}
    assert set(answer.json["outputs"]) == set(SOURCES)
    assert_same_sources(arrays(answer.json["outputs"]), located)


def test_predict_by_row(rest, path: str, rows, located) -> None:
    answer = rest.ask(f"{path}:predict", rows)
    assert answer.status == 200
    assert set(answer.json) == {"predictions"}
    assert all(set(scene) == set(SOURCES) for scene in answer.json["predictions"])
    stacked = {name: [scene[name] for scene in answer.json["predictions"]] for name in SOURCES}
    assert_same_sources(arrays(stacked), located)


def test_predict_of_a_version_asked(rest, path: str, columns, located, version: int) -> None:
    answer = rest.ask(f"{path}/versions/{version}:predict", columns)
    assert answer.status == 200
    assert_same_sources(arrays(answer.json["outputs"]), located)


def test_status(rest, path: str, version: int) -> None:
    expected = {"version": str(version), "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for suffix in ("", f"/versions/{version}"):
        answer = rest.ask(path + suffix)
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert expected in answer.json["model_version_status"]


def test_metadata(rest, path: str, model_name: str, version: int) -> None:
    answer = rest.ask(f"{path}/metadata")
    assert answer.status == 200
    spec = answer.json["model_spec"]
    assert (spec["name"], spec["version"]) == (model_name, str(version))
    signatures = answer.json["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "localize_real", "covariance", "spectrum"} <= set(signatures)
    snapshots = signatures["localize_real"]["inputs"]["snapshots"]
    assert snapshots["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in snapshots["tensor_shape"]["dim"]] == ["-1", "-1", "16", "2"]
    assert signatures["serving_default"]["method_name"] == "tensorflow/serving/predict"


def assert_error(answer, status: int, message: str) -> None:
    assert (answer.status, answer.content_type) == (status, "application/json")
    assert set(answer.json) == {"error"}
    assert answer.json["error"].startswith(message)


def test_what_is_not_there(rest, path: str, columns) -> None:
    assert_error(rest.ask("/v1/models/none"), 404, "Could not find any versions of model none")
    assert_error(rest.ask(f"{path}/versions/7"), 404, "Could not find version 7 of model ")
    missing = "Servable not found for request: "
    assert_error(rest.ask("/v1/models/none/metadata"), 404, f"{missing}Latest(none)")
    assert_error(rest.ask("/v1/models/none:predict", columns), 404, f"{missing}Latest(none)")
    assert_error(rest.ask(f"{path}/versions/7:predict", columns), 404, f"{missing}Specific(")
    answer = rest.ask(f"{path}/labels/no_such_label:predict", columns)
    assert_error(answer, 400, "Unrecognized servable version label: no_such_label")
    unknown = {**columns, "signature_name": "no_such_signature"}
    answer = rest.ask(f"{path}:predict", unknown)
    assert_error(answer, 400, 'Serving signature name: "no_such_signature" not found in signature def')


def test_bodies_that_are_no_request(rest, path: str, columns) -> None:
    url = f"{path}:predict"
    assert_error(rest.ask(url, b""), 400, "JSON Parse error: The document is empty")
    assert_error(rest.ask(url, "{not json"), 400, "JSON Parse error: ")
    assert_error(rest.ask(url, {"signature_name": "localize_real"}), 400, "Missing 'inputs' or 'instances' key")
    few = {**columns, "inputs": {"snr_db": columns["inputs"]["snr_db"]}}
    assert_error(rest.ask(url, few), 400, "Missing named input: ")
    text = {**columns, "inputs": {**columns["inputs"], "snr_db": ["loud"]}}
    answer = rest.ask(url, text)
    assert answer.status == 400
    assert "is not of expected type: float" in answer.json["error"]


def test_a_path_that_is_no_call(rest, path: str) -> None:
    answer = rest.ask(f"{path}:locate", {})
    assert_error(answer, 400, f"Malformed request: POST {path}:locate")


def test_metrics_where_monitoring_is_on(rest, path: str, columns, model_name: str) -> None:
    rest.ask(f"{path}:predict", columns)
    answer = rest.ask("/monitoring/prometheus/metrics")
    if answer.status == 404:
        pytest.skip("the server runs without a monitoring config")
    assert answer.status == 200
    lines = answer.text.splitlines()
    assert "# TYPE :tensorflow:serving:request_count counter" in lines
    counted = [line for line in lines if line.startswith(":tensorflow:serving:request_count{")]
    assert any(f'model_name="{model_name}"' in line and 'status="OK"' in line for line in counted)
    for name in ("request_latency", "runtime_latency"):
        assert f"# TYPE :tensorflow:serving:{name} histogram" in lines
