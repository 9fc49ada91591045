"""A localizer on a model server. `python -m serving.client` is its command line."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from serving.client import messages
from serving.client.calibration import Calibration, read_calibration
from serving.client.connection import Connection, RetryConfig, ServerError, TlsConfig
from serving.client.inputs import DEFAULT_BATCH_SIZE, Scenes, check_batch_size, check_sizes, scenes_given
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


def _as_real(value: np.ndarray) -> np.ndarray:
    """Complex arrays get a trailing axis of 2, real and imaginary part; real arrays stay as they are."""
    return np.stack([value.real, value.imag], axis=-1) if np.iscomplexobj(value) else value


class LocalizerClient:
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

    Raises:
      ValueError: a file of `tls` or the calibration cannot be used.

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
        """True if the model serves, in the version of this client. Asks once and does not wait for the server.

        Args:
          timeout_s: deadline of the call, seconds.

        Raises:
          ServerError: the server answers with an error.
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
        """Shapes of the signature's inputs, by name. -1 stands for any size.

        Raises:
          ValueError: the model has no such signature.
          ServerError: the server is unavailable or does not know the model.
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
        """Compares M and N with the model's. Asks the server once for each pair of M and N.

        Raises:
          ValueError: they differ.
          ServerError: see `input_shapes`.
        """
        sizes = (scenes.num_antennas, scenes.num_elements)
        if sizes in self._fitting:
            return
        expected = self.input_shapes().get("channel")
        if expected is None:
            raise ValueError(f"channel: expected an input of that name, the model {self.model_name} has none")
        check_sizes(scenes, expected[1], expected[2], f"the model {self.model_name}")
        self._fitting.add(sizes)

    def check_calibration(self, calibration: Calibration) -> None:
        """Checks that a calibration was made for the model's surface, as far as the model can tell.

        Raises:
          ValueError: it was made for another surface, or the model already contains a calibration.
          ServerError: the server is unavailable or does not know the model.
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

    def locate(
        self,
        measurement: str | Path | Scenes | Mapping[str, Any] | np.ndarray | None = None,
        ris_codes: Any = None,
        channel: Any = None,
        snr_db: Any = None,
        *,
        snapshots: Any = None,
        noise_power: Any = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> list[Scene]:
        """Finds the sources of every scene. `ris_mvdr.load_localizer().locate` takes the same arguments.

        Args:
          measurement: path of a measurement file, a `Measurement` or `MeasurementFile`, the arrays by name, or the
            snapshots; left out, the arrays below.
          ris_codes: [B, L, N] or [L, N] complex.
          channel: [B, M, N] or [M, N] complex.
          snr_db: [B] or a number, dB.
          snapshots: [B, L, M] complex.
          noise_power: sigma^2 in the units of |snapshots|^2, [B] or a number, in place of snr_db.
          batch_size: scenes per request.

        Raises:
          ValueError: the arrays are wrong, or belong to another installation than the model's.
          ServerError: the server is unavailable or answers with an error.

        Examples:
          >>> client.locate("measurement.npz")
          >>> client.locate(snapshots=snapshots, ris_codes=ris_codes, channel=channel, snr_db=10.0)
        """
        check_batch_size(batch_size)
        scenes = scenes_given(
            measurement,
            snapshots=snapshots,
            ris_codes=ris_codes,
            channel=channel,
            snr_db=snr_db,
            noise_power=noise_power,
        )
        return [scene for batch in self._located(scenes, batch_size) for scene in batch]

    def _located(self, scenes: Scenes, batch_size: int) -> Iterator[list[Scene]]:
        self.check(scenes)
        if self._calibration is not None and not self._calibration_fits:
            self.check_calibration(self._calibration)
            self._calibration_fits = True
        for batch in scenes.batches(batch_size):
            sent = batch if self._calibration is None else self._calibration.of(batch)
            answer = self.predict(sent.inputs(0, len(sent)))
            yield located(answer.outputs, answer.model_version)

    def localize(
        self, measurement: Scenes | Mapping[str, np.ndarray], batch_size: int = DEFAULT_BATCH_SIZE
    ) -> list[dict[str, Any]]:
        """Like `locate`, but returns plain dictionaries, as in the client's JSON file.

        Args:
          measurement: scenes, or the arrays of a measurement file by name.
          batch_size: scenes per request.

        Raises:
          ValueError: the arrays are wrong, or belong to another installation than the model's.
          ServerError: the server is unavailable or answers with an error.
        """
        return [scene.to_dict() for scene in self.locate(measurement, batch_size=batch_size)]

    def predict(self, inputs: Mapping[str, np.ndarray], output_filter: Iterable[str] = ()) -> Answer:
        """Calls the signature with a batch, without further checks.

        Args:
          inputs: by name, batch first.
          output_filter: names of the outputs to return; empty returns all.

        Raises:
          ValueError: an input or output is not an array of numbers.
          ServerError: the server is unavailable or answers with an error.
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
