"""Limits: messages and work beyond them are RESOURCE_EXHAUSTED, and the server goes on."""

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.server_process import ServerProcess, free_port, server_process
from tests.serving.servers import answer_of, predict_request, refusal, stubs

REST_PORT = free_port()
TURNS = 4000


@pytest.fixture(scope="module")
def running(half_plus: Path) -> Iterator[ServerProcess]:
    """One thread for each entrance."""
    with server_process(
        f"--model_base_path={half_plus}", "--grpc_max_threads=1", "--rest_api_num_threads=1",
        f"--rest_api_port={REST_PORT}", "--rest_api_timeout_in_ms=300",
        f"--grpc_channel_arguments=grpc.max_receive_message_length={2**20}",
    ) as running:  # fmt: skip
        yield running


def honest(running: ServerProcess) -> bool:
    return answer_of(running.target, predict_request("default", x=np.float32([2.0]))) == (2, [3.0])


def test_a_message_beyond_the_limit(running: ServerProcess) -> None:
    with stubs(running.target) as (prediction, _):
        request = predict_request("default", x=np.zeros(2**18, np.float32))
        code, text = refusal(prediction.Predict, request)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in text
    assert honest(running)


def test_more_requests_than_may_wait(running: ServerProcess) -> None:
    with stubs(running.target) as (prediction, _):
        request = predict_request("default", "slow", turns=np.int32([TURNS]))
        calls = [prediction.Predict.future(request, timeout=120) for _ in range(30)]
        codes = Counter(call.code() for call in calls)
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert codes[grpc.StatusCode.OK] >= 9  # one is worked on, eight wait
    assert honest(running)


def test_rest_requests_that_wait_too_long(running: ServerProcess) -> None:
    statuses: list[int] = []

    def client() -> None:
        connection = http.client.HTTPConnection("localhost", REST_PORT, timeout=60)
        body = json.dumps({"signature_name": "slow", "instances": [TURNS]})
        connection.request("POST", "/v1/models/default:predict", body)
        statuses.append(connection.getresponse().status)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 429}
    assert honest(running)


def test_connections_beyond_the_limit_are_closed(running: ServerProcess) -> None:
    connections = [http.client.HTTPConnection("localhost", REST_PORT, timeout=10) for _ in range(40)]
    for connection in connections:
        connection.connect()
    closed = 0
    for connection in connections:
        try:
            connection.request("GET", "/v1/models/default")
            connection.getresponse().read()
        except (ConnectionError, http.client.HTTPException):
            closed += 1
    for connection in connections:
        connection.close()
    assert closed == 8  # 32 are held for each thread
    assert honest(running)
