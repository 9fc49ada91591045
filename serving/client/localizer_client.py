"""A localizer on a model server. `python -m serving.client` is its command line."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from serving.client import messages
from serving.client.calibration import Calibration, read_calibration
from serving.client.connection import Connection, RetryConfig, ServerError, TlsConfig
from serving.client.inputs import DEFAULT_BATCH_SIZE, Locator, Scenes, check_sizes
from serving.client.measurement import Measurement
from serving.client.scene import Scene
from serving.client.sources import located
from serving.client.tensors import array_of, tensor_of

DEFAULT_SIGNATURE, REAL_SIGNATURE, SURFACE_SIGNATURE = "serving_default", "localize_real", "surface"
_SERVICE = "/tensorflow.serving"
_NOT_READY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.NOT_FOUND)


@dataclasses.dataclass(frozen=True)
class Answer:
    """Outputs by name, batch first, and the version of the model that gave them."""

    outputs: dict[str, np.ndarray]
    model_version: int


class LocalizerClient(Locator):
    """A localizer on a server. Threads may share one.

    Args:
      target: HOST:PORT. Where the host name stands for several servers, requests go to them in turn.
      model_name: name of the model on the server.
      timeout_s: deadline of a call in seconds, retries and waits included.
      model_version: version of the model; None selects the latest.
      signature_name: signature to call. `localize_real` receives complex inputs with a trailing axis of 2.
      tls: None connects without TLS.
      retry: what to do while the server is unavailable.
      calibration: calibration file to apply to every measurement of `locate` and `localize`.

    Examples:
      >>> with LocalizerClient("localhost:8500") as client:
      ...     for scene in client.locate("measurement.npz"):
      ...         print([source.position_m for source in scene.sources])
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
        calibration: str | Path | None = None,
    ) -> None:
        self.target, self.model_name, self.timeout_s = target, model_name, timeout_s
        self.model_version, self.signature_name = model_version, signature_name
        self._calibration = None if calibration is None else read_calibration(Path(calibration))
        self._calibration_fits = False
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
        """Closes the connection. The client cannot be used afterwards."""
        self._connection.close()

    def _spec(self, signature_name: str = "") -> Any:
        spec = messages.ModelSpec(name=self.model_name, signature_name=signature_name)
        if self.model_version is not None:
            spec.version.value = self.model_version
        return spec

    def ready(self, timeout_s: float = 5.0) -> bool:
        """True if the model serves, in the version of this client. Asks once, for `timeout_s` seconds at most."""
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
        """Shapes of the signature's inputs, by name. -1 stands for any size."""
        signatures = self._signatures()
        if self.signature_name not in signatures:
            raise ValueError(
                f"signature_name: expected one of {', '.join(sorted(signatures))} of the model {self.model_name}, "
                f"got {self.signature_name}"
            )
        inputs = signatures[self.signature_name].inputs
        return {name: [dim.size for dim in info.tensor_shape.dim] for name, info in inputs.items()}

    def check(self, scenes: Scenes) -> None:
        """Raises ValueError if M or N differ from the model's. Asks the server once for each pair of M and N."""
        sizes = (scenes.num_antennas, scenes.num_elements)
        if sizes in self._fitting:
            return
        expected = self.input_shapes().get("channel")
        if expected is None:
            raise ValueError(f"channel: expected an input of that name, the model {self.model_name} has none")
        check_sizes(scenes, expected[1], expected[2], f"the model {self.model_name}")
        self._fitting.add(sizes)

    def check_calibration(self, calibration: Calibration) -> None:
        """Raises ValueError for one of another surface, as far as the model tells, or a model that contains one."""
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

    def _check(self, scenes: Scenes) -> None:
        self.check(scenes)
        if self._calibration is not None and not self._calibration_fits:
            self.check_calibration(self._calibration)
            self._calibration_fits = True

    def _located(self, batch: Measurement) -> list[Scene]:
        sent = batch if self._calibration is None else self._calibration.of(batch)
        answer = self.predict(sent.inputs(0, len(sent)))
        return located(answer.outputs, answer.model_version)

    def localize(
        self, measurement: Scenes | Mapping[str, np.ndarray], batch_size: int = DEFAULT_BATCH_SIZE
    ) -> list[dict[str, Any]]:
        """`locate` with plain data as the result: the entries of the client's JSON file."""
        return [scene.to_dict() for scene in self.locate(measurement, batch_size=batch_size)]

    def predict(self, inputs: Mapping[str, np.ndarray], output_filter: Iterable[str] = ()) -> Answer:
        """Calls the signature with a batch, without further checks.

        Args:
          inputs: by name, batch first.
          output_filter: names of the outputs to return; empty returns all.
        """
        return self._ask(self.signature_name, inputs, output_filter)

    def _ask(self, signature_name: str, inputs: Mapping[str, np.ndarray], output_filter: Iterable[str] = ()) -> Answer:
        request = messages.PredictRequest(model_spec=self._spec(signature_name), output_filter=output_filter)
        for name, value in inputs.items():
            if signature_name == REAL_SIGNATURE and np.iscomplexobj(value):
                value = np.stack([value.real, value.imag], axis=-1)
            request.inputs[name].CopyFrom(tensor_of(value, name))
        response = self._connection.ask(self._predict, request, self.timeout_s)
        outputs = {name: array_of(tensor, f"output {name}") for name, tensor in response.outputs.items()}
        return Answer(outputs, response.model_spec.version.value)
