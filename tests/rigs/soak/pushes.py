"""Versions change under load: no request may fail, and each answer must come from the version that it names."""

import contextlib
import dataclasses
import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
from tensorflow_serving.apis import prediction_service_pb2_grpc

from pipeline.release.versions import roll_back
from serving.server_process import server_process, wait_until
from tests.rigs.soak.model import NAME, request_of, write_version
from tests.serving.servers import PATIENCE_S


@dataclasses.dataclass
class LoadReport:
    """What the clients observed."""

    answers: Counter[int] = dataclasses.field(default_factory=Counter)
    """Number of right answers by version."""
    mixed: int = 0
    """Number of answers from another version than the named one."""
    failures: list[str] = dataclasses.field(default_factory=list)
    latest: deque[int] = dataclasses.field(default_factory=deque)
    """Versions of the last answers; more answers than requests can be in flight."""

    def wait_for(self, version: int) -> None:
        """Waits until only that version answers, or until a fault.

        Raises:
          TimeoutError: the version did not take over.
        """
        self.wait_until(lambda: set(self.latest) == {version})

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits until the condition holds, or until a fault.

        Raises:
          TimeoutError: neither happened.
        """
        wait_until(lambda: condition() or self.mixed > 0 or bool(self.failures))


@contextlib.contextmanager
def load(folder: Path, clients: int) -> Iterator[LoadReport]:
    """Runs clients against a server of the folder from the first answer to the end of the block; yields a report."""
    report = LoadReport(latest=deque(maxlen=2 * clients))
    lock, asked, done = threading.Lock(), itertools.count(1), threading.Event()
    flags = (f"--model_name={NAME}", f"--model_base_path={folder}", "--file_system_poll_wait_seconds=0.1")

    def client() -> None:
        with grpc.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not done.is_set():
                number = next(asked) % 1000
                try:
                    response = stub.Predict(request_of(x=np.array([number], np.float32)), timeout=PATIENCE_S)
                except grpc.RpcError as error:
                    with lock:
                        report.failures.append(f"{error.code().name}: {error.details()}")
                    continue
                version, value = response.model_spec.version.value, response.outputs["y"].float_val[0]
                with lock:
                    if value == number / 2 + version:
                        report.answers[version] += 1
                        report.latest.append(version)
                    else:
                        report.mixed += 1

    with server_process(*flags) as server:
        threads = [threading.Thread(target=client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            report.wait_until(lambda: report.answers.total() > 0)
            yield report
        finally:
            done.set()
            for thread in threads:
                thread.join()


def push_versions(folder: Path, versions: int, clients: int, requests: int) -> LoadReport:
    """Pushes version 2 and so on, spread evenly over the requests.

    Args:
      folder: an empty folder, for the models.
      versions: number of versions pushed after the first.
      clients: number of concurrent clients.
      requests: minimum number of requests of all clients together.

    Raises:
      TimeoutError: a version did not take over.
    """
    write_version(folder, 1)
    with load(folder, clients) as report:
        for version in range(2, versions + 2):
            due = requests * (version - 1) // (versions + 1)
            report.wait_until(lambda due=due: report.answers.total() >= due)  # type: ignore[misc]
            write_version(folder, version)
            report.wait_for(version)
        report.wait_until(lambda: report.answers.total() >= requests)
    return report


def roll_back_and_forth(folder: Path, times: int, clients: int) -> LoadReport:
    """Rolls back to the previous version and forward again, repeatedly.

    Args:
      folder: an empty folder, for the models.
      times: number of repetitions.
      clients: number of concurrent clients.

    Raises:
      TimeoutError: a version did not take over.
    """
    for version in (1, 2):
        write_version(folder, version)
    with load(folder, clients) as report:
        for wanted in ["previous", "2"] * times:
            report.wait_for(roll_back(folder, wanted).number)
    return report
