"""New versions while clients ask: no request may fail, and each must be answered by the version it names."""

import dataclasses
import itertools
import threading
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.server_process import server_process, wait_until
from tests.rigs.soak.model import NAME, request_of, write_version
from tests.serving.servers import PATIENCE_S


@dataclasses.dataclass
class PushReport:
    """What clients saw."""

    answers: Counter[int] = dataclasses.field(default_factory=Counter)
    """Right answers by version."""
    mixed: int = 0
    """Answers that another version than the named one gave."""
    failures: list[str] = dataclasses.field(default_factory=list)


def push_versions(folder: Path, versions: int, clients: int, requests: int) -> PushReport:
    """Pushes version 2 and so on, evenly over the requests.

    Args:
      folder: empty; models are written there.
      versions: how many are pushed after the first.
      clients: that ask at a time.
      requests: of all clients together, at least.

    Raises:
      TimeoutError: a version did not take over.
    """
    report, lock, asked = PushReport(), threading.Lock(), itertools.count(1)
    done, sent = threading.Event(), 0
    write_version(folder, 1)
    flags = (f"--model_name={NAME}", f"--model_base_path={folder}", "--file_system_poll_wait_seconds=0.1")

    def client() -> None:
        nonlocal sent
        with grpc.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not done.is_set() or sent < requests:
                number = next(asked)
                try:
                    response = stub.Predict(request_of(x=np.array([number % 1000], np.float32)), timeout=PATIENCE_S)
                except grpc.RpcError as error:
                    with lock:
                        report.failures.append(f"{error.code().name}: {error.details()}")
                    continue
                version, value = response.model_spec.version.value, response.outputs["y"].float_val[0]
                with lock:
                    sent = number
                    if value == number % 1000 / 2 + version:
                        report.answers[version] += 1
                    else:
                        report.mixed += 1

    with server_process(*flags) as server:
        threads = [threading.Thread(target=client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            for version in range(2, versions + 2):
                due = requests * (version - 1) // (versions + 1)
                wait_until(lambda due=due: sent >= due)  # type: ignore[misc]
                write_version(folder, version)
                wait_until(lambda version=version: report.answers[version] > 0)  # type: ignore[misc]
        finally:
            done.set()
            for thread in threads:
                thread.join()
    return report
