"""SIGTERM while clients ask: what was accepted is answered, the rest refused, and the server ends well."""

import dataclasses
import http.client
import json
import threading
import time
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.server_process import server_process, wait_until
from serving.soak.model import NAME, request_of, write_version

_ARRIVED_S = 0.1


@dataclasses.dataclass
class EndReport:
    """What clients saw."""

    statuses: Counter[str] = dataclasses.field(default_factory=Counter)
    """All requests by status; `refused` if the connection was."""
    in_flight: int = 0
    """Requests that had been sent for 0.1 s and were not answered when the signal came."""
    lost: list[str] = dataclasses.field(default_factory=list)
    """Those of them that were not answered OK, and any status other than OK and UNAVAILABLE."""
    exit_status: int | None = None
    seconds: float = 0.0
    """From the signal to the end."""


def end_under_load(folder: Path, clients: int, rest_clients: int, turns: int) -> EndReport:
    """Clients ask one slow thing after the other; after a second the server is told to stop.

    Args:
      folder: empty; a model is written there.
      clients: over gRPC.
      rest_clients: over REST.
      turns: how slow the requests are.
    """
    report, lock = EndReport(), threading.Lock()
    write_version(folder, 1)
    flags = (f"--model_name={NAME}", f"--model_base_path={folder}", "--rest_api_port=-1")
    signalled: list[float] = []

    def note(sent: float, status: str) -> None:
        with lock:
            report.statuses[status] += 1
            waiting = bool(signalled) and sent < signalled[0] - _ARRIVED_S
            report.in_flight += waiting
            if (waiting and status != "OK") or status not in ("OK", "UNAVAILABLE", "refused"):
                report.lost.append(status)

    def grpc_client() -> None:
        with grpc.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            status = "OK"
            while status == "OK":
                sent = time.monotonic()
                try:
                    stub.Predict(request_of("slow", turns=np.array([turns], np.int32)), timeout=120)
                except grpc.RpcError as error:
                    status = error.code().name
                note(sent, status)

    def rest_client() -> None:
        connection = http.client.HTTPConnection("localhost", server.rest_port, timeout=120)
        body = json.dumps({"signature_name": "slow", "instances": [turns]})
        status = "OK"
        while status == "OK":
            sent = time.monotonic()
            try:
                connection.request("POST", f"/v1/models/{NAME}:predict", body)
                response = connection.getresponse()
                status = "OK" if response.status == 200 and response.read() else str(response.status)
            except (ConnectionError, http.client.HTTPException):
                status = "refused"
            note(sent, status)

    with server_process(*flags) as server:
        threads = [threading.Thread(target=grpc_client) for _ in range(clients)]
        threads += [threading.Thread(target=rest_client) for _ in range(rest_clients)]
        for thread in threads:
            thread.start()
        wait_until(lambda: report.statuses["OK"] >= len(threads), 120.0)
        time.sleep(1.0)
        signalled.append(time.monotonic())
        report.exit_status = server.terminate()
        report.seconds = time.monotonic() - signalled[0]
        for thread in threads:
            thread.join()
    return report
