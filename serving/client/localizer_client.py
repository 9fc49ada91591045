"""The class behind `python -m serving.client`: a localizer on a model server."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import grpc
import numpy as np

from serving.client import messages
from serving.client.calibration import Calibration
from serving.client.connection import Connection, RetryConfig, ServerError, TlsConfig
from serving.client.measurement import Measurement, check_measurement
from serving.client.sources import Scene, scenes_of
from serving.client.tensors import array_of, tensor_of

DEFAULT_SIGNATURE, REAL_SIGNATURE, SURFACE_SIGNATURE = "serving_default", "localize_real", "surface"
DEFAULT_BATCH_SIZE = 32
"""Scenes a request, the largest batch of serving/deploy/config/batching.config: nothing is padded."""
_SERVICE = "/tensorflow.serving"
_NOT_READY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.NOT_FOUND)


class Scenes(Protocol):
    """Scenes of one base station and surface: `Measurement` and `MeasurementFile` are such."""

    @property
    def num_antennas(self) -> int: ...

    @property
    def num_elements(self) -> int: ...

    def batches(self, size: int) -> Iterator[Measurement]: ...


@dataclasses.dataclass(frozen=True)
class Answer:
    """Outputs by name, batch first, and the version of the model that gave them."""

    outputs: dict[str, np.ndarray]
    model_version: int


def _as_real(value: np.ndarray) -> np.ndarray:
    """Complex numbers with a trailing axis of 2, real and imaginary part; real ones as they are."""
    return np.stack([value.real, value.imag], axis=-1) if np.iscomplexobj(value) else value


class LocalizerClient:
    """A localizer on a server. Threads may share one.

    Args:
      target: HOST:PORT. Where the host's name stands for several servers, they are asked in turn.
      model_name: the model's name there.
      timeout_s: deadline of a call, tries and waits included, seconds.
      model_version: the version asked; None asks the latest.
      signature_name: the signature asked. For `localize_real`, complex inputs are sent with a trailing axis of 2.
      tls: None connects without TLS.
      retry: what happens while the server is away.

    Raises:
      ValueError: a file of `tls` cannot be used.

    Examples:
      >>> with LocalizerClient("localhost:8500") as client:
      ...     for scene in client.localize(read_measurement(Path("measurement.npz"))):
      ...         print([source["position_m"] for source in scene["sources"]])
    """

    def __init__(
        self,
        target: str,
        model_name: str = "ris_localizer",
        timeout_s: float = 60.0,
        *,
        model_version: int | None = None,
        signature_name: str = DEFAULT_SIGNATURE,
        tls: TlsConfig | None = None,
        retry: RetryConfig = RetryConfig(),
    ) -> None:
        self.target, self.model_name, self.timeout_s = target, model_name, timeout_s
        self.model_version, self.signature_name = model_version, signature_name
        self._connection = connection = Connection(target, tls, retry)
        self._predict = connection.method(f"{_SERVICE}.PredictionService/Predict", messages.PredictResponse)
        self._metadata = connection.method(
            f"{_SERVICE}.PredictionService/GetModelMetadata", messages.GetModelMetadataResponse
        )
        self._status = connection.method(f"{_SERVICE}.ModelService/GetModelStatus", messages.GetModelStatusResponse)
        self._fitting: set[tuple[int, int]] = set()

    def __enter__(self) -> "LocalizerClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; the client cannot be used after it."""
        self._connection.close()

    def _spec(self, signature_name: str = "") -> Any:
        spec = messages.ModelSpec(name=self.model_name, signature_name=signature_name)
        if self.model_version is not None:
            spec.version.value = self.model_version
        return spec

    def ready(self, timeout_s: float = 5.0) -> bool:
        """Whether the model serves, in the version asked if one is; asked once, without waiting for the server.

        Args:
          timeout_s: deadline of the question, seconds.

        Raises:
          ServerError: the server refuses to say.
        """
        request = messages.GetModelStatusRequest(model_spec=self._spec())
        try:
            status = self._connection.ask_once(self._status, request, timeout_s)
        except ServerError as error:
            if error.code in _NOT_READY:
                return False
            raise
        return any(version.state == messages.AVAILABLE for version in status.model_version_status)

    def _signatures(self) -> Any:
        request = messages.GetModelMetadataRequest(model_spec=self._spec(), metadata_field=["signature_def"])
        response = self._connection.ask(self._metadata, request, self.timeout_s)
        return messages.SignatureDefMap.FromString(response.metadata["signature_def"].value).signature_def

    def input_shapes(self) -> dict[str, list[int]]:
        """Shapes of the inputs of the signature asked, -1 where any size goes.

        Raises:
          ValueError: the model has no such signature. ServerError: the server is away or does not know the model.
        """
        signatures = self._signatures()
        if self.signature_name not in signatures:
            raise ValueError(
                f"signature_name: expected one of {', '.join(sorted(signatures))} of the model {self.model_name}, "
                f"got {self.signature_name}"
            )
        inputs = signatures[self.signature_name].inputs
        return {name: [dim.size for dim in info.tensor_shape.dim] for name, info in inputs.items()}

    def check(self, scenes: Scenes) -> None:
        """Compares M and N with the model's; the server is asked once for each M and N.

        Raises:
          ValueError: they differ. ServerError: see `input_shapes`.
        """
        sizes = (scenes.num_antennas, scenes.num_elements)
        if sizes in self._fitting:
            return
        expected = self.input_shapes().get("channel")
        if expected is None:
            raise ValueError(f"channel: expected an input of that name, the model {self.model_name} has none")
        for letter, size, got in zip("MN", expected[1:3], sizes, strict=True):
            if size not in (-1, got):
                raise ValueError(f"channel: expected {letter} = {size} as the model {self.model_name}, got {got}")
        self._fitting.add(sizes)

    def check_calibration(self, calibration: Calibration) -> None:
        """Whether a calibration that is to be applied here is one for the model, as far as the model can say.

        Raises:
          ValueError: it was made for another surface, or the model holds a calibration already. ServerError: the server
            is away or does not know the model.
        """
        if SURFACE_SIGNATURE not in self._signatures():
            return
        said = self._ask(SURFACE_SIGNATURE, {"snr_db": np.zeros(1, np.float32)}).outputs
        if said["calibrated"][0]:
            raise ValueError(
                f"--calibration: expected a model without a calibration inside, {self.model_name} was exported with one"
            )
        expected, made_for = bytes(said["surface_sha256"][0]).hex(), calibration.about.get("surface_fingerprint")
        if made_for != expected:
            raise ValueError(
                f"--calibration: expected one of the surface of the model {self.model_name}, sha256 {expected[:12]}, "
                f"got one of {str(made_for)[:12]}"
            )

    def localize(
        self, measurement: Scenes | Mapping[str, np.ndarray], batch_size: int = DEFAULT_BATCH_SIZE
    ) -> list[Scene]:
        """The sources of every scene.

        Args:
          measurement: scenes, or the arrays of a measurement file by name.
          batch_size: scenes a request.

        Raises:
          ValueError: the arrays are wrong or of another installation than the model's. ServerError: the server is away
            or refuses.
        """
        scenes: Scenes = check_measurement(measurement) if isinstance(measurement, Mapping) else measurement
        self.check(scenes)
        found: list[Scene] = []
        for batch in scenes.batches(batch_size):
            answer = self.predict(batch.inputs(0, len(batch)))
            found += scenes_of(answer.outputs, answer.model_version)
        return found

    def predict(self, inputs: Mapping[str, np.ndarray], output_filter: Iterable[str] = ()) -> Answer:
        """Outputs of the signature asked for a batch.

        Args:
          inputs: by name, batch first.
          output_filter: names of the outputs wanted; none wants all.

        Raises:
          ValueError: an input or output that is no array of numbers. ServerError: the server is away or refuses.
        """
        return self._ask(self.signature_name, inputs, output_filter)

    def _ask(self, signature_name: str, inputs: Mapping[str, np.ndarray], output_filter: Iterable[str] = ()) -> Answer:
        request = messages.PredictRequest(model_spec=self._spec(signature_name), output_filter=output_filter)
        for name, value in inputs.items():
            sent = _as_real(value) if signature_name == REAL_SIGNATURE else value
            request.inputs[name].CopyFrom(tensor_of(sent, name))
        response = self._connection.ask(self._predict, request, self.timeout_s)
        outputs = {name: array_of(tensor, f"output {name}") for name, tensor in response.outputs.items()}
        return Answer(outputs, response.model_spec.version.value)
