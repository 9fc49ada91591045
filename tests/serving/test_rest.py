"""REST: bodies, codes and messages of TF Serving's API, and the metrics page for Prometheus."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from serving.model_server import main
from tests.serving.in_process import InProcessServer
from tests.serving.rest_client import MODEL, ask, post
from tests.serving.servers import predict_request, stubs


@pytest.mark.promise("model server")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"instances": [2.0, 3, 4.0]}, {"predictions": [3.0, 3.5, 4.0]}),
        ({"instances": [{"x": 2.0}, {"x": 3.0}]}, {"predictions": [3.0, 3.5]}),
        ({"instances": [[2.0, 3.0], [4.0, 5.0]]}, {"predictions": [[3.0, 3.5], [4.0, 4.5]]}),
        ({"inputs": [2.0, 3.0]}, {"outputs": [3.0, 3.5]}),
        ({"inputs": {"x": [2.0, 3.0]}}, {"outputs": [3.0, 3.5]}),
        ({"signature_name": "add", "instances": [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 5.0}]},
         {"predictions": [{"difference": -1.0, "sum": 3.0}, {"difference": -2.0, "sum": 8.0}]}),
        ({"signature_name": "add", "inputs": {"a": [1.0, 3.0], "b": [2.0, 5.0]}},
         {"outputs": {"difference": [-1.0, -2.0], "sum": [3.0, 8.0]}}),
    ],
)  # fmt: skip
def test_predict_in_rows_and_columns(connection, body: dict, expected: dict) -> None:
    assert post(connection, ":predict", body) == (200, expected)


def test_versions(connection) -> None:
    assert post(connection, "/versions/1:predict", {"instances": [2.0]}) == (200, {"predictions": [2.0]})
    assert post(connection, "/versions/2:predict", {"instances": [2.0]}) == (200, {"predictions": [3.0]})


def test_bytes_are_base64_and_every_type_has_its_form(connection) -> None:
    body = {"signature_name": "echo", "instances": [
        {"text_bytes": {"b64": "/wA="}, "count": 2**40, "flag": True, "real": 0.1},
        {"text_bytes": "é", "count": -1, "flag": False, "real": 3},
    ]}  # fmt: skip
    status, text = ask(connection, "POST", f"{MODEL}:predict", body)
    assert status == 200
    first, second = json.loads(text)["predictions"]
    assert first == {"text_bytes": {"b64": "/wA="}, "count": 2**40, "flag": True, "real": 0.1, "text": "\ufffd\0"}
    assert second == {"text_bytes": {"b64": "w6k="}, "count": -1, "flag": False, "real": 3.0, "text": "é"}
    assert '"real": 3.0' in text


def test_numbers_are_written_as_tf_serving_writes_them(connection) -> None:
    values = [0.2, 1 / 3, 2.0, 9e6, 3e-5, 16777217.0, math.inf, -math.inf, math.nan]
    body = {"signature_name": "add", "inputs": {"a": [0.0] * len(values), "b": values}}
    status, text = ask(connection, "POST", f"{MODEL}:predict", body)
    assert status == 200
    assert '"sum": [0.2, 0.333333343, 2.0, 9e+06, 3e-05, 16777216.0, Infinity, -Infinity, NaN]' in text


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_what_the_localizer_has_no_use_for_is_not_implemented(connection, method: str) -> None:
    expected = (501, {"error": f"{method.capitalize()} is not served here"})
    assert post(connection, f":{method}", {"examples": [{"x": 1.0}]}) == expected


def test_status_and_metadata(connection) -> None:
    status, text = ask(connection, "GET", f"{MODEL}/versions/2")
    assert (status, json.loads(text)) == (
        200,
        {
            "model_version_status": [
                {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
            ]
        },
    )
    assert len(json.loads(ask(connection, "GET", MODEL)[1])["model_version_status"]) == 2
    status, text = ask(connection, "GET", f"{MODEL}/metadata")
    metadata = json.loads(text)
    assert (status, metadata["model_spec"]) == (200, {"name": "half_plus", "signature_name": "", "version": "2"})
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert signature["inputs"]["x"]["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert signature["method_name"] == "tensorflow/serving/predict"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/v1/models/other:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(other)"),
        ("POST", f"{MODEL}/versions/9:predict", {"instances": [1]}, 404,
         "Servable not found for request: Specific(half_plus, 9)"),
        ("POST", f"{MODEL}/labels/a:predict", {"instances": [1]}, 400, "Unrecognized servable version label: a"),
        ("POST", f"{MODEL}/versions/{2**70}:predict", {}, 400, f"Failed to convert version: {2**70} to numeric."),
        ("GET", "/v1/models/other", None, 404, "Could not find any versions of model other"),
        ("GET", f"{MODEL}/versions/9", None, 404, "Could not find version 9 of model half_plus"),
        ("GET", "/v1/models", None, 400, "Missing model name in request."),
        ("GET", f"{MODEL}:predict", None, 400, f"Malformed request: GET {MODEL}:predict"),
        ("POST", f"{MODEL}:train", {}, 400, f"Malformed request: POST {MODEL}:train"),
        ("DELETE", MODEL, None, 400, f"Malformed request: DELETE {MODEL}"),
        ("GET", "/index.html", None, 404, "Not found: /index.html"),
        ("POST", f"{MODEL}:predict", b"", 400, "JSON Parse error: The document is empty"),
        ("POST", f"{MODEL}:predict", b"{", 400, "JSON Parse error: "),
        ("POST", f"{MODEL}:predict", b"\xff\xfe", 400, "JSON Parse error: Invalid encoding in string."),
        ("POST", f"{MODEL}:predict", b"[" * 100_000, 400, "JSON Parse error: "),
        ("POST", f"{MODEL}:predict", b"1" * 10_000, 400, "JSON Parse error: "),
        ("POST", f"{MODEL}:predict", [1], 400, "JSON Value: [1] Is not object"),
        ("POST", f"{MODEL}:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("POST", f"{MODEL}:predict", {"instances": [1], "inputs": [1]}, 400, "JSON Value: "),
        ("POST", f"{MODEL}:predict", {"instances": 1}, 400,
         "JSON Value: {\"instances\": 1} Expecting 'instances' to be an list/array"),
        ("POST", f"{MODEL}:predict", {"instances": []}, 400, "JSON Value: "),
        ("POST", f"{MODEL}:predict", {"instances": [1], "signature_name": 1}, 400, "JSON Value: "),
        ("POST", f"{MODEL}:predict", {"instances": [1], "signature_name": "none"}, 400,
         'Serving signature name: "none" not found in signature def'),
        ("POST", f"{MODEL}:predict", {"instances": ["a"]}, 400,
         "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
         'JSON Value: "a" Type: String is not of expected type: float'),
        ("POST", f"{MODEL}:predict", {"inputs": [True]}, 400,
         "JSON Value: true Type: True is not of expected type: float"),
        ("POST", f"{MODEL}:predict", {"inputs": [[1, 2], [3]]}, 400,
         "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ("POST", f"{MODEL}:predict", {"inputs": [1, [3]]}, 400,
         "Encountered list at unexpected level: 1 expected < 1"),
        ("POST", f"{MODEL}:predict", {"inputs": [[1], 3]}, 400,
         "JSON Value: 3 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ("POST", f"{MODEL}:predict", {"instances": [[1], [1, 2]]}, 400,
         "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 1 "),
        ("POST", f"{MODEL}:predict", {"instances": [{"y": 1}]}, 400,
         "Failed to process element: 0 key: y of 'instances' list. Error: INVALID_ARGUMENT: "
         "JSON object: does not have named input: y"),
        ("POST", f"{MODEL}:predict", {"inputs": {"a": [1]}, "signature_name": "add"}, 400,
         "Missing named input: b in 'inputs' object."),
        ("POST", f"{MODEL}:predict", {"instances": [{"a": 1}], "signature_name": "add"}, 400,
         "Failed to process element: 0 of 'instances' list. JSON object: {\"a\": 1} keys must be equal to: a,b"),
        ("POST", f"{MODEL}:predict", {"instances": [1], "signature_name": "conjugate"}, 400,
         "Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: Conversion of JSON Value: 1 "),
        ("POST", f"{MODEL}:predict", {"inputs": [1.5], "signature_name": "slow"}, 400,
         "JSON Value: 1.5 Type: Number is not of expected type: int32"),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_refusals(connection, method: str, path: str, body: object, status: int, text: str) -> None:
    found, answer = ask(connection, method, path, body)
    message = json.loads(answer)["error"]
    assert (found, message[: len(text)]) == (status, text)


def test_prometheus_counts_both_entrances(shared_server: InProcessServer, connection) -> None:
    def samples() -> dict[str, float]:
        status, text = ask(connection, "GET", "/metrics")
        assert status == 200
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def grown(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    before = samples()
    with stubs(shared_server.target) as (prediction, _):
        for _ in range(3):
            prediction.Predict(predict_request("half_plus", x=np.float32([2.0])))
    post(connection, ":predict", {"instances": [2.0]})
    post(connection, ":predict", {"instances": ["a"]})
    ask(connection, "POST", '/v1/models/stranger"\\:predict', {})
    after = samples()
    assert grown(':tensorflow:serving:request_count{model_name="half_plus",status="OK"}') == 4
    assert grown(':tensorflow:serving:request_count{model_name="half_plus",status="INVALID_ARGUMENT"}') == 1
    assert not any("stranger" in name for name in after)  # unknown names must not fill the memory
    labels = 'model_name="half_plus",API="Predict",entrypoint="GRPC"'
    assert grown(f":tensorflow:serving:request_latency_count{{{labels}}}") == 3
    assert grown(f':tensorflow:serving:request_latency_bucket{{{labels},le="+Inf"}}') == 3
    labels = 'model_name="half_plus",API="Predict",runtime="TF1"'
    assert grown(f":tensorflow:serving:runtime_latency_count{{{labels}}}") == 4
    assert grown(f":tensorflow:serving:runtime_latency_sum{{{labels}}}") > 0


def test_ports_that_can_not_be_had_are_named(shared_server: InProcessServer, half_plus: Path) -> None:
    taken = shared_server.rest_port
    for flags, text in (
        ((f"--rest_api_port={taken}", "--port=0"), f"--rest_api_port: {taken}: "),
        (("--rest_api_port=8500", "--port=8500"), "--rest_api_port: expected another port than --port"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([f"--model_base_path={half_plus}", *flags])
        assert text in str(stopped.value.code)
