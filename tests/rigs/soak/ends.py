"""Shutdown under load: after SIGTERM every accepted call is answered, the others are refused, and the server exits.

The server reports how many calls it accepted. The clients must have received as many answers.

Each client sends one slow call after the other, so its next call arrives just after an answer. The durations vary, so
that answers fall at every moment of a shutdown.
"""

import dataclasses
import http.client
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.server_process import ServerProcess, server_process, wait_until
from tests.rigs.soak.model import NAME, request_of, write_version
from tests.serving.servers import PATIENCE_S

_TURNED_AWAY = "the server is shutting down"


@dataclasses.dataclass
class EndReport:
    """What the clients observed."""

    statuses: Counter[str] = dataclasses.field(default_factory=Counter)
    """Number of calls by status; `turned away`: the server said that it stops; `refused`: there was no connection."""
    in_flight: int = 0
    """Calls that the servers had accepted but not answered when the signal came."""
    lost: list[str] = dataclasses.field(default_factory=list)
    """Faults: accepted calls without an answer, by server; before the signal, any status but OK; after it, any status
    but OK, `turned away`, UNAVAILABLE and `refused`."""
    ends: Counter[str] = dataclasses.field(default_factory=Counter)
    """Last messages of the servers, counted."""
    seconds: list[float] = dataclasses.field(default_factory=list)
    """Time from each signal to the end of the server."""


class _Clients:
    """Clients that call one server until it refuses them."""

    def __init__(self, server: ServerProcess, report: EndReport, seed: int) -> None:
        self._server, self._report, self._random = server, report, random.Random(seed)
        self._lock = threading.Lock()
        self.signalled = False
        """Whether the signal may have been sent."""
        self.answered = 0

    def _turns(self) -> Iterator[int]:
        """Yields the size of each call, so that answers take 0.1 to 0.6 s at the current speed of the machine."""
        turns = 100
        while True:
            started = time.monotonic()
            yield turns
            taken = max(1e-3, time.monotonic() - started)
            turns = max(1, min(10 * turns, round(turns * self._random.uniform(0.1, 0.6) / taken)))

    def _note(self, status: str) -> None:
        with self._lock:
            self.answered += status == "OK"
            self._report.statuses[status] += 1
            if status not in (("OK", "turned away", "UNAVAILABLE", "refused") if self.signalled else ("OK",)):
                self._report.lost.append(status)

    def grpc(self) -> None:
        """Calls over gRPC."""
        with grpc.insecure_channel(self._server.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            for turns in self._turns():
                status = "OK"
                try:
                    stub.Predict(request_of("slow", turns=np.array([turns], np.int32)), timeout=PATIENCE_S)
                except grpc.RpcError as error:
                    status = "turned away" if error.details() == _TURNED_AWAY else error.code().name
                self._note(status)
                if status != "OK":
                    return

    def rest(self) -> None:
        """Calls over REST, on one connection for as long as the server keeps it open."""
        connection = http.client.HTTPConnection("localhost", self._server.rest_port, timeout=PATIENCE_S)
        for turns in self._turns():
            try:
                body = json.dumps({"signature_name": "slow", "instances": [turns]})
                connection.request("POST", f"/v1/models/{NAME}:predict", body)
                response = connection.getresponse()
                content = response.read()
                away = response.status == 503 and json.loads(content)["error"] == _TURNED_AWAY
                status = "turned away" if away else "OK" if response.status == 200 else f"{response.status} {content!r}"
            except (ConnectionError, http.client.HTTPException):
                status = "refused"
            self._note(status)
            if status != "OK":
                return


def _threads(clients: _Clients, over_grpc: int, over_rest: int) -> list[threading.Thread]:
    targets = [clients.grpc] * over_grpc + [clients.rest] * over_rest
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    wait_until(lambda: clients.answered >= 2 * len(threads))
    return threads


def ends_under_load(folder: Path, clients: int, rest_clients: int, stops: int, seed: int = 0) -> EndReport:
    """Starts, calls and stops a server again and again, in one process.

    Args:
      folder: an empty folder, for the model.
      clients: number of clients over gRPC.
      rest_clients: number of clients over REST.
      stops: number of shutdowns.
      seed: seed of the times.
    """
    report, drawn = EndReport(), random.Random(seed)
    write_version(folder, 1)
    time_ms = f"{1e3 * PATIENCE_S:.0f}"
    flags = (
        f"--model_name={NAME}",
        f"--model_base_path={folder}",
        "--rest_api_port=-1",
        f"--rest_api_timeout_in_ms={time_ms}",
    )
    with server_process(*flags, module="tests.rigs.soak.again") as server:
        for stop in range(stops):
            wait_until(lambda stop=stop: len(server.lines) > 2 * stop)  # type: ignore[misc]
            server.read_ports(server.lines[2 * stop])
            asked = _Clients(server, report, seed + stop)
            threads = _threads(asked, clients, rest_clients)
            time.sleep(drawn.uniform(0.0, 0.5))
            asked.signalled = True
            started = time.monotonic()
            server.process.terminate()
            wait_until(lambda stop=stop: len(server.lines) > 2 * stop + 1)  # type: ignore[misc]
            report.seconds.append(time.monotonic() - started)
            for thread in threads:
                thread.join()
            end, _, counts = server.lines[2 * stop + 1].partition(": ")
            accepted, unfinished = (int(number) for number in re.findall(r"\d+", counts))
            report.ends[end] += 1
            report.in_flight += unfinished
            if accepted != asked.answered:
                report.lost.append(f"server {stop + 1}: {asked.answered} of {accepted} accepted calls answered")
    return report
