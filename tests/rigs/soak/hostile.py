"""Hostile requests: each must get the right status, and the server must neither stop nor use more memory."""

import dataclasses
import gzip
import http.client
import json
import random
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc
import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.server_process import ServerProcess, server_process
from tests.rigs.soak.model import NAME, request_of, write_version
from tests.serving.servers import PATIENCE_S

_GIANT = 6 * 2**20
_LIMIT = 4 * 2**20
_BOMB = gzip.compress(bytes(80 * 2**20))
_HEAD = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: here\r\n"
_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_INVALID, _INTERNAL, _MISSING = "INVALID_ARGUMENT", "INTERNAL", "NOT_FOUND"


@dataclasses.dataclass
class HostileReport:
    """What the server answered."""

    statuses: Counter[str] = dataclasses.field(default_factory=Counter)
    """Number of requests by kind and status."""
    wrong: list[str] = dataclasses.field(default_factory=list)
    """Requests with a wrong status."""
    resident_bytes: list[int] = dataclasses.field(default_factory=list)
    """Memory of the server, measured twenty times."""

    def growth(self) -> float:
        """Returns the relative growth of the memory from a quarter of the measurements to the end."""
        return self.resident_bytes[-1] / self.resident_bytes[len(self.resident_bytes) // 5] - 1.0


class Attacker:
    """Sends hostile requests to a server.

    Args:
      server: a server with REST and a message limit of 4 MiB.
      seed: seed of the random parts.
    """

    def __init__(self, server: ServerProcess, seed: int) -> None:
        self._random = random.Random(seed)
        self._port, self._rest_port = server.port, server.rest_port
        self._channel = grpc.insecure_channel(server.target, [("grpc.max_send_message_length", -1)])
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._raw = self._channel.unary_unary(_PREDICT)
        self._giant = request_of(x=np.zeros(_GIANT // 4, np.float32))
        self.kinds: dict[str, tuple[float, str, Callable[[], str]]] = {
            # kind: (relative frequency, expected status, request)
            "random bytes": (1, _INTERNAL, lambda: self._grpc(self._raw, b"\xff" + self._random.randbytes(200))),
            "cut message": (1, _INTERNAL, self._cut),
            "wrong shapes": (1, _INVALID, lambda: self._add(self._floats(3), self._floats(4))),
            "no inputs": (1, _INVALID, lambda: self._predict(request_of("add"))),
            "huge shape": (1, _INVALID, self._huge_shape),
            "NaN": (1, _INVALID, lambda: self._add(np.array([np.nan], np.float32), self._floats(1))),
            "wrong dtype": (1, _INVALID, lambda: self._predict(request_of(x=np.array([1.0], np.float64)))),
            "strings": (1, _INVALID, lambda: self._predict(request_of(x=[self._random.randbytes(100)]))),
            "unknown output": (1, _INVALID, self._unknown_output),
            "unknown model": (1, _MISSING, self._unknown_model),
            "unknown signature": (1, "FAILED_PRECONDITION", lambda: self._predict(request_of(self._word()))),
            "giant message": (0.1, "RESOURCE_EXHAUSTED", lambda: self._predict(self._giant)),
            "no time": (1, "DEADLINE_EXCEEDED", self._no_time),
            "half-closed gRPC": (1, "closed", lambda: self._bytes(self._port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00")),
            "noise on gRPC": (1, "closed", lambda: self._bytes(self._port, self._random.randbytes(300))),
            "half-closed REST": (1, "closed", self._half_closed_rest),
            "noise on REST": (1, "400", lambda: self._bytes(self._rest_port, b"\xff" * 100 + b"\r\n\r\n")),
            "no JSON": (1, "400", lambda: self._rest(self._random.randbytes(200))),
            "smuggled body": (1, "400", self._smuggled),
            "zipped bomb": (0.1, "429", lambda: self._rest(_BOMB, headers={"Content-Encoding": "gzip"})),
            "endless lists": (0.1, "429", lambda: self._rest(b'{"instances": [' + b"[]," * (2 * 2**20) + b"[]]}")),
            "body that never comes": (1, "closed", self._declared),
            "deep JSON": (0.3, "400", lambda: self._rest(b'{"instances": ' + b"[" * 20_000)),
            "ragged JSON": (1, "400", lambda: self._rest(json.dumps({"instances": [[1.0], [1.0, 2.0]]}).encode())),
            "unknown REST model": (1, "404", lambda: self._rest(b'{"instances": [1]}', self._word())),
        }  # fmt: skip

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def strike(self) -> tuple[str, str, str]:
        """Sends a request of a random kind and returns its kind, the expected status, and the actual status."""
        (kind,) = self._random.choices(list(self.kinds), [weight for weight, _, _ in self.kinds.values()])
        _, expected, request = self.kinds[kind]
        return kind, expected, request()

    def honest(self) -> bool:
        """Whether a correct request still gets the right answer."""
        response = self._stub.Predict(request_of(x=np.array([2.0], np.float32)), timeout=PATIENCE_S)
        return response.outputs["y"].float_val[0] == 2.0

    # Parts of requests

    def _word(self) -> str:
        return self._random.randbytes(12).hex()

    def _floats(self, count: int) -> np.ndarray:
        return np.array([self._random.random() for _ in range(count)], np.float32)

    # gRPC

    def _grpc(self, call: Callable[..., Any], request: object, timeout_s: float = PATIENCE_S) -> str:
        try:
            call(request, timeout=timeout_s)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    def _predict(self, request: object) -> str:
        return self._grpc(self._stub.Predict, request)

    def _add(self, a: np.ndarray, b: np.ndarray) -> str:
        return self._predict(request_of("add", a=a, b=b))

    def _cut(self) -> str:
        whole = request_of(x=self._floats(50)).SerializeToString()
        return self._grpc(self._raw, whole[: -self._random.randint(1, 40)])

    def _huge_shape(self) -> str:
        sizes = [{"size": self._random.choice([2**31, 2**40, 2**62])} for _ in range(self._random.randint(1, 4))]
        proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0], tensor_shape={"dim": sizes})
        request = request_of()
        request.inputs["x"].CopyFrom(proto)
        return self._predict(request)

    def _unknown_output(self) -> str:
        request = request_of(x=self._floats(1))
        request.output_filter.append(self._word())
        return self._predict(request)

    def _unknown_model(self) -> str:
        request = request_of(x=self._floats(1))
        request.model_spec.name = self._word()
        return self._predict(request)

    def _no_time(self) -> str:
        return self._grpc(self._stub.Predict, request_of("slow", turns=np.array([1000], np.int32)), 0.001)

    # REST and bare connections

    def _rest(self, body: bytes, model: str = NAME, headers: Mapping[str, str] = MappingProxyType({})) -> str:
        connection = http.client.HTTPConnection("localhost", self._rest_port, timeout=PATIENCE_S)
        try:
            connection.request("POST", f"/v1/models/{model}:predict", body, headers)
            return str(connection.getresponse().status)
        finally:
            connection.close()

    def _half_closed_rest(self) -> str:
        return self._bytes(self._rest_port, _HEAD + b"Content-Length: 99\r\n\r\n{")

    def _declared(self) -> str:
        return self._bytes(self._rest_port, _HEAD + b"Content-Length: %d\r\n\r\n" % 2**26)

    def _smuggled(self) -> str:
        coding = self._random.choice((b"gzip, chunked", b"chunked\r\nContent-Length: 5"))
        return self._bytes(
            self._rest_port, _HEAD + b"Transfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n" + _HEAD + b"\r\n"
        )

    @staticmethod
    def _bytes(port: int, data: bytes) -> str:
        """Sends bytes, half-closes the connection, reads to the end; returns the HTTP status, or "closed"."""
        with socket.create_connection(("localhost", port), PATIENCE_S) as connection:
            answer = b""
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(4096):
                    answer += part
            except ConnectionError:
                pass
        return answer[9:12].decode() if answer.startswith(b"HTTP/1.1 ") else "closed"


def be_hostile(folder: Path, requests: int, seed: int = 0) -> HostileReport:
    """Sends hostile requests, and some correct ones in between.

    Args:
      folder: an empty folder, for the model.
      requests: number of hostile requests.
      seed: seed of the random parts.

    Raises:
      RuntimeError: the server stopped, or no longer answers correct requests.
    """
    report = HostileReport()
    write_version(folder, 1)
    flags = (
        f"--model_name={NAME}",
        f"--model_base_path={folder}",
        "--rest_api_port=-1",
        f"--rest_api_timeout_in_ms={1e3 * PATIENCE_S:.0f}",
        f"--grpc_channel_arguments=grpc.max_receive_message_length={_LIMIT}",
    )
    with server_process(*flags) as server:
        attacker = Attacker(server, seed)
        for number in range(requests):
            kind, expected, found = attacker.strike()
            report.statuses[f"{kind}: {found}"] += 1
            if found != expected:
                report.wrong.append(f"{kind}: expected {expected}, got {found}")
            if (number + 1) % max(1, requests // 20) == 0:
                if not attacker.honest():
                    raise RuntimeError(f"an honest request was answered wrong after {number + 1} hostile ones")
                report.resident_bytes.append(server.resident_bytes())
        attacker.close()
    return report
