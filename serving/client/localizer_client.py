"""The class behind `python -m serving.client`: a localizer on a model server."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2, prediction_service_pb2_grpc

from serving.client.connection import RetryConfig, TlsConfig, call, open_channel

DEFAULT_SIGNATURE, REAL_SIGNATURE = "serving_default", "localize_real"


class Installation(Protocol):
    """What a measurement was made with: `Measurement` and `MeasurementFile` know it."""

    @property
    def num_antennas(self) -> int: ...

    @property
    def num_elements(self) -> int: ...


def _as_real(value: np.ndarray) -> np.ndarray:
    """Complex numbers with a trailing axis of 2, real and imaginary part; real ones as they are."""
    return np.stack([value.real, value.imag], axis=-1) if np.iscomplexobj(value) else value


class LocalizerClient:
    """A localizer on a server.

    Args:
      target: HOST:PORT.
      model_name: the model's name there.
      timeout_s: deadline of a call, tries and waits included, seconds.
      model_version: the version asked; None asks the latest.
      signature_name: the signature asked. For `localize_real`, complex inputs are sent with a trailing axis of 2.
      tls: None connects without TLS.
      retry: what happens while the server is away.

    Raises:
      ValueError: a file of `tls` cannot be used.

    Example:
      >>> with LocalizerClient("localhost:8500", "ris_localizer") as client:
      ...     sources = client.predict(measurement.inputs(0, 1))
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
        self.model_version, self.signature_name, self.retry = model_version, signature_name, retry
        self._channel = open_channel(target, tls, retry)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def __enter__(self) -> "LocalizerClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def _spec(self, signature_name: str = "") -> model_pb2.ModelSpec:
        spec = model_pb2.ModelSpec(name=self.model_name, signature_name=signature_name)
        if self.model_version is not None:
            spec.version.value = self.model_version
        return spec

    def _call(self, method: grpc.UnaryUnaryMultiCallable, request: Any) -> Any:
        return call(method, request, self.target, self.timeout_s, self.retry)

    def signatures(self) -> Mapping[str, meta_graph_pb2.SignatureDef]:
        """The model's signatures by name.

        Raises:
          ServerError: the server is down or does not know the model.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec(), metadata_field=["signature_def"]
        )
        response = self._call(self._stub.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return signatures.signature_def

    def input_shapes(self) -> dict[str, list[int]]:
        """Shapes of the inputs of the signature asked, -1 where any size goes.

        Raises:
          ValueError: the model has no such signature. ServerError: see `signatures`.
        """
        signatures = self.signatures()
        if self.signature_name not in signatures:
            raise ValueError(
                f"signature_name: expected one of {', '.join(sorted(signatures))} of the model {self.model_name}, "
                f"got {self.signature_name}"
            )
        inputs = signatures[self.signature_name].inputs
        return {name: [dim.size for dim in info.tensor_shape.dim] for name, info in inputs.items()}

    def check(self, measurement: Installation) -> None:
        """Compares M and N with the model's.

        Raises:
          ValueError: they differ. ServerError: see `signatures`.
        """
        expected = self.input_shapes().get("channel")
        if expected is None:
            raise ValueError(f"channel: expected an input of that name, the model {self.model_name} has none")
        for letter, size, got in zip(
            "MN", expected[1:3], (measurement.num_antennas, measurement.num_elements), strict=True
        ):
            if size not in (-1, got):
                raise ValueError(f"channel: expected {letter} = {size} as the model {self.model_name}, got {got}")

    def predict(self, inputs: Mapping[str, np.ndarray], output_filter: Iterable[str] = ()) -> dict[str, np.ndarray]:
        """Outputs of the signature asked for a batch.

        Args:
          inputs: by name, batch first.
          output_filter: names of the outputs wanted; none wants all.

        Raises:
          ServerError: the server is down or refuses.
        """
        request = predict_pb2.PredictRequest(model_spec=self._spec(self.signature_name), output_filter=output_filter)
        for name, value in inputs.items():
            sent = _as_real(value) if self.signature_name == REAL_SIGNATURE else value
            request.inputs[name].CopyFrom(tf.make_tensor_proto(sent))
        response = self._call(self._stub.Predict, request)
        return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
