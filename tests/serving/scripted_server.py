"""A gRPC server in this process that answers as a test says and remembers who asked."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from typing import Any

import grpc
import numpy as np

from serving.client import messages
from serving.client.tensors import tensor_of

ELEMENTS, ANTENNAS, SLOTS = 6, 3, 2


def outputs_of(batch: int, **more: np.ndarray) -> dict[str, np.ndarray]:
    """What a localizer with two slots says of scenes with a source each."""
    single = np.tile(np.float32([1.0, np.nan]), (batch, 1))
    names = ("azimuth_deg", "elevation_deg", "range_m", "power_db", "score")
    return {
        "num_sources": np.ones(batch, np.int32),
        **{name: single for name in names},
        "position_m": np.repeat(single[..., None], 3, axis=-1),
        "position_cov_m2": np.repeat(np.repeat(single[..., None, None], 3, axis=-1), 3, axis=-2),
        **more,
    }


class ScriptedServer:
    """A server on a free port of this machine.

    Args:
      predict: outputs for a PredictRequest, or an abort by the context.
      version: of the model that answers.
      options: channel arguments of the server.
    """

    def __init__(
        self,
        predict: Callable[[Any, grpc.ServicerContext], Mapping[str, np.ndarray]],
        version: int = 1,
        options: tuple[tuple[str, int], ...] = (),
    ) -> None:
        self.answer, self.version = predict, version
        self.status: Callable[[Any, grpc.ServicerContext], Any] = lambda *_: self.states(messages.AVAILABLE)
        self.signatures: tuple[str, ...] = ()
        """Further ones of the model, by name."""
        self.peers: list[str] = []
        """Who asked, a connection's address for every Predict."""
        self.requests: list[Any] = []
        """Every Predict's request."""
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
        for service, methods in (
            ("PredictionService", {"Predict": self._predict, "GetModelMetadata": self._metadata}),
            ("ModelService", {"GetModelStatus": lambda request, context: self.status(request, context)}),
        ):
            handlers = {name: self._handler(name, method) for name, method in methods.items()}
            generic = grpc.method_handlers_generic_handler(f"tensorflow.serving.{service}", handlers)
            self._server.add_generic_rpc_handlers((generic,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self.target = f"127.0.0.1:{self.port}"

    @staticmethod
    def _handler(name: str, method: Callable[[Any, grpc.ServicerContext], Any]) -> grpc.RpcMethodHandler:
        request, answer = getattr(messages, f"{name}Request"), getattr(messages, f"{name}Response")
        return grpc.unary_unary_rpc_method_handler(method, request.FromString, answer.SerializeToString)

    def _predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.peers.append(context.peer())
        self.requests.append(request)
        response = messages.PredictResponse()
        for name, value in self.answer(request, context).items():
            response.outputs[name].CopyFrom(tensor_of(value, name))
        response.model_spec.version.value = self.version
        return response

    def _metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        signatures = messages.SignatureDefMap()
        for size in (-1, ANTENNAS, ELEMENTS):
            signatures.signature_def["serving_default"].inputs["channel"].tensor_shape.dim.add(size=size)
        for name in self.signatures:
            signatures.signature_def[name].SetInParent()
        response = messages.GetModelMetadataResponse()
        response.metadata["signature_def"].value = signatures.SerializeToString()
        return response

    def states(self, *states: int) -> Any:
        """A GetModelStatusResponse with versions in those states."""
        response = messages.GetModelStatusResponse()
        for version, state in enumerate(states):
            response.model_version_status.add(version=version, state=state)
        return response

    def __enter__(self) -> "ScriptedServer":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()


def found(request: Any, context: grpc.ServicerContext) -> dict[str, np.ndarray]:
    """A source in every scene."""
    return outputs_of(request.inputs["snapshots"].tensor_shape.dim[0].size)


def refusing(code: grpc.StatusCode, times: int, details: str = "not now") -> Callable[..., dict[str, np.ndarray]]:
    """Aborts the first calls, then finds a source in every scene."""
    left = iter(range(times))

    def predict(request: Any, context: grpc.ServicerContext) -> dict[str, np.ndarray]:
        if next(left, None) is not None:
            context.abort(code, details)
        return found(request, context)

    return predict


@contextlib.contextmanager
def two_servers() -> Iterator[tuple[ScriptedServer, ScriptedServer, str]]:
    """Versions 1 and 2 behind one name, as a headless Service has them."""
    with ScriptedServer(found, 1) as one, ScriptedServer(found, 2) as two:
        yield one, two, f"ipv4:{one.target},{two.target}"
