"""gRPC and REST in this process, on a model whose runs a test can block."""

import contextlib
import dataclasses
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.batching import BatchScheduler
from serving.server.calls import NO_DEADLINE, Call, CallGate, EventLoopThread
from serving.server.config import single_model
from serving.server.core import ServerCore
from serving.server.grpc_server import GrpcConfig, GrpcServer
from serving.server.http_server import HttpConfig, HttpServer
from serving.server.manager import ModelManager
from serving.server.metrics import Metrics
from serving.server.rest import RestApi
from serving.server.servable import Servable
from serving.server.versions import ManagerConfig
from tests.serving.servers import PATIENCE_S

NAME = "held"


def _signature() -> meta_graph_pb2.SignatureDef:
    info = {name: meta_graph_pb2.TensorInfo(name=f"{name}:0", dtype=types_pb2.DT_FLOAT) for name in "xy"}
    return meta_graph_pb2.SignatureDef(inputs={"x": info["x"]}, outputs={"y": info["y"]})


class BlockingModel:
    """y = x / 2. Each run puts its x into `started` and ends once `resume` is set. x = 13 raises an exception."""

    def __init__(self, version: int = 1) -> None:
        self.servable = Servable(version, {"serving_default": _signature()}, self.run, lambda: None)
        self.started: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
        self.resume = threading.Event()
        self.resume.set()

    def run(
        self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str], call: Call = NO_DEADLINE
    ) -> list[np.ndarray]:
        x = feeds["x:0"]
        self.started.put(x)
        assert self.resume.wait(PATIENCE_S)
        if (x == 13).any():
            raise ZeroDivisionError("thirteen")
        return [x / 2]

    @contextlib.contextmanager
    def blocked(self) -> Iterator[None]:
        """Blocks all runs within the block."""
        self.resume.clear()
        try:
            yield
        finally:
            self.resume.set()


@dataclasses.dataclass
class Stack:
    """The parts of a server."""

    model: BlockingModel
    manager: ModelManager
    metrics: Metrics
    grpc: GrpcServer
    http: HttpServer
    loop: EventLoopThread
    gate: CallGate

    @property
    def target(self) -> str:
        return f"localhost:{self.grpc.port}"


@contextlib.contextmanager
def stack(
    folder: Path,
    grpc: GrpcConfig = GrpcConfig(port=0, health=True),
    http: HttpConfig = HttpConfig(port=0),
    scheduler: BatchScheduler | None = None,
    load: Callable[[Path, int], Servable] | None = None,
) -> Iterator[Stack]:
    """Runs a server of version 1 of the model `held` on free ports.

    Args:
      folder: empty; receives the folder of the model.
      grpc: configuration of gRPC.
      http: configuration of REST.
      scheduler: batches requests; None runs them singly.
      load: loads versions; None serves a BlockingModel.
    """
    (folder / NAME / "1").mkdir(parents=True)
    model, metrics, loop, gate = BlockingModel(), Metrics(), EventLoopThread(), CallGate()
    servable = model.servable if scheduler is None else scheduler.batching(model.servable)
    made: list[GrpcServer] = []

    def update_health() -> None:
        for server in made:
            server.update_health(manager.available())

    manager = ModelManager(ManagerConfig(poll_interval_s=0.02), load or (lambda path, version: servable), update_health)
    core = ServerCore(manager, metrics)
    manager.reload(single_model(NAME, folder / NAME))
    made.append(GrpcServer(core, grpc, loop, gate))
    http_server = HttpServer(RestApi(core, "/metrics"), http, loop, gate)
    update_health()
    try:
        yield Stack(model, manager, metrics, made[0], http_server, loop, gate)
    finally:
        model.resume.set()
        manager.stop()
        made[0].stop(0.0)
        http_server.stop()
        loop.stop()
