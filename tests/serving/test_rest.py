"""REST: bodies, codes and words of TF Serving's API, over keep-alive connections, and Prometheus' page."""

import gzip
import http.client
import json
import math
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving.model_server import main
from serving.server_process import free_port, server_process
from tests.serving.servers import predict_request, stubs

MODEL = "/v1/models/half_plus"


@pytest.fixture(scope="module")
def running(half_plus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    folder, port = tmp_path_factory.mktemp("rest"), free_port()
    (folder / "monitoring").write_text('prometheus_config { enable: true path: "/metrics" }')
    (folder / "models").write_text(
        f'model_config_list {{ config {{ name: "half_plus" base_path: "{half_plus}" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    with server_process(
        f"--rest_api_port={port}",
        f"--model_config_file={folder}/models",
        "--rest_api_timeout_in_ms=3000",
        f"--monitoring_config_file={folder}/monitoring",
    ) as running:
        yield port, running.target


@pytest.fixture
def connection(running: tuple[int, str]) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("localhost", running[0], timeout=30)
    yield connection
    connection.close()


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: object = None) -> tuple[int, str]:
    """Status and text; bodies that are not bytes are sent as JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, data)
    response = connection.getresponse()
    return response.status, response.read().decode()


def post(connection: http.client.HTTPConnection, path: str, body: object) -> tuple[int, object]:
    status, text = ask(connection, "POST", f"{MODEL}{path}", body)
    return status, json.loads(text)


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


def test_classify_and_regress(connection) -> None:
    body = {"signature_name": "classify", "examples": [{"x": 2.0}, {"x": [-4.0]}]}
    expected = {"results": [[["low", -2.0], ["high", 3.0]], [["low", 1.0], ["high", 0.0]]]}
    assert post(connection, ":classify", body) == (200, expected)
    assert post(connection, ":classify", {"signature_name": "scores", "examples": [{"x": 2.0}]}) == (
        200,
        {"results": [[["", 3.0]]]},
    )
    assert post(connection, ":regress", {"signature_name": "regress", "examples": [{"x": 2.0}]}) == (
        200,
        {"results": [3.0]},
    )
    body = {"signature_name": "regress", "context": {"x": 6.0}, "examples": [{"other": "text"}, {}]}
    assert post(connection, ":regress", body) == (200, {"results": [5.0, 5.0]})


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
        ("POST", f"{MODEL}:classify", {"signature_name": "classify"}, 400, "JSON Value: "),
        ("POST", f"{MODEL}:classify", {"signature_name": "classify", "examples": [1]}, 400,
         "Example must be JSON object but got JSON Number"),
        ("POST", f"{MODEL}:classify", {"signature_name": "classify", "examples": [{"x": [1.0, "a"]}]}, 400,
         "Unexpected element type in feature: x expecting type: float"),
        ("POST", f"{MODEL}:regress", {"signature_name": "none", "examples": [{"x": 1.0}]}, 400,
         "No signature was found with the name: none"),
    ],
)  # fmt: skip
def test_refusals(connection, method: str, path: str, body: object, status: int, text: str) -> None:
    found, answer = ask(connection, method, path, body)
    message = json.loads(answer)["error"]
    assert (found, message[: len(text)]) == (status, text)


def test_sixteen_clients_on_kept_connections(running: tuple[int, str]) -> None:
    wrong: list[object] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("localhost", running[0], timeout=30)
        connection.connect()
        first = connection.sock
        for turn in range(20):
            found = post(connection, ":predict", {"instances": [float(number), float(turn)]})
            if found != (200, {"predictions": [number / 2 + 2, turn / 2 + 2]}) or connection.sock is not first:
                wrong.append(found)
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_chunked_bodies_and_clients_that_wait_for_100(running: tuple[int, str]) -> None:
    connection = http.client.HTTPConnection("localhost", running[0], timeout=30)
    pieces = iter([b'{"instances"', b": [2.0", b"]}"])
    connection.request(
        "POST", f"{MODEL}:predict", pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
    )
    assert json.loads(connection.getresponse().read()) == {"predictions": [3.0]}
    connection.close()
    body = b'{"instances": [2.0]}'
    with socket.create_connection(("localhost", running[0]), 30) as raw:
        head = f"POST {MODEL}:predict HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
        raw.sendall(head.encode())
        assert raw.recv(1000).startswith(b"HTTP/1.1 100")
        raw.sendall(body)
        assert b'{"predictions": [3.0]}' in raw.recv(1000)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (gzip.compress(b'{"instances": [2.0]}'), 200, '{"predictions": [3.0]}'),
        (gzip.compress(b" " * 100_000_000), 429, "request body larger than"),
        (b'{"instances": [2.0]}', 400, "Failed to uncompress the gzipped body"),
    ],
)
def test_gzipped_bodies(connection, body: bytes, status: int, text: str) -> None:
    connection.request("POST", f"{MODEL}:predict", body, {"Content-Encoding": "gzip"})
    response = connection.getresponse()
    assert (response.status, text in response.read().decode()) == (status, True)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (f"POST {MODEL}:predict HTTP/1.1\r\nContent-Length: {10**12}\r\n\r\n".encode(), 429),
        (f"POST {MODEL}:predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n".encode(), 400),
        (f"POST {MODEL}:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n".encode(), 400),
        (f"POST {MODEL}:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffff\r\n".encode(), 429),
        (f"POST {MODEL}:predict HTTP/1.1\r\nContent-Length: 100\r\n\r\nshort".encode(), None),
        (b"", None),
    ],
)
def test_hostile_bytes_are_refused_or_dropped(running: tuple[int, str], sent: bytes, status: int | None) -> None:
    with socket.create_connection(("localhost", running[0]), 30) as raw:
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        answer = raw.recv(1000)
    assert answer[:12].decode() == ("" if status is None else f"HTTP/1.1 {status}")


def test_prometheus_counts_both_entrances(running: tuple[int, str], connection) -> None:
    def samples() -> dict[str, float]:
        status, text = ask(connection, "GET", "/metrics")
        assert status == 200
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def grown(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    before = samples()
    with stubs(running[1]) as (prediction, _):
        for _ in range(3):
            prediction.Predict(predict_request("half_plus", x=np.float32([2.0])))
    post(connection, ":predict", {"instances": [2.0]})
    post(connection, ":predict", {"instances": ["a"]})
    ask(connection, "POST", '/v1/models/stranger"\\:predict', {})
    after = samples()
    assert grown(':tensorflow:serving:request_count{model_name="half_plus",status="OK"}') == 4
    assert grown(':tensorflow:serving:request_count{model_name="half_plus",status="INVALID_ARGUMENT"}') == 1
    assert not any("stranger" in name for name in after)  # names nobody configured must not fill the memory
    labels = 'model_name="half_plus",API="Predict",entrypoint="GRPC"'
    assert grown(f":tensorflow:serving:request_latency_count{{{labels}}}") == 3
    assert grown(f':tensorflow:serving:request_latency_bucket{{{labels},le="+Inf"}}') == 3
    labels = 'model_name="half_plus",API="Predict",runtime="TF1"'
    assert grown(f":tensorflow:serving:runtime_latency_count{{{labels}}}") == 4
    assert grown(f":tensorflow:serving:runtime_latency_sum{{{labels}}}") > 0


def test_ports_that_can_not_be_had_are_named(running: tuple[int, str], half_plus: Path) -> None:
    port = free_port()
    for flags, text in (
        ((f"--rest_api_port={running[0]}", "--port=0"), f"--rest_api_port: {running[0]}: "),
        ((f"--rest_api_port={port}", f"--port={port}"), "--rest_api_port: expected another port than --port"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([f"--model_base_path={half_plus}", *flags])
        assert text in str(stopped.value.code)
