"""`python -m serving.client`: sends measurement files to a model server and writes the sources it finds."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tqdm import tqdm

from serving.measurement import Measurement, read_measurement

_INT32_MAX = 2**31 - 1
_SOURCE_FIELDS = ("azimuth_deg", "elevation_deg", "range_m", "position_m", "power_db", "score", "position_cov_m2")


class ServerError(Exception):
    """The server is down, or answered with an error; one line."""


class LocalizerClient:
    """A model on a server.

    Args:
      target: HOST:PORT.
      model_name: the model's name there.
      timeout_s: deadline of a call, seconds.

    Example:
      >>> with LocalizerClient("localhost:8500", "ris_localizer") as client:
      ...     sources = client.predict(measurement.inputs(0, 1))
    """

    def __init__(self, target: str, model_name: str = "ris_localizer", timeout_s: float = 60.0) -> None:
        self.target, self.model_name, self.timeout_s = target, model_name, timeout_s
        limits = [("grpc.max_receive_message_length", _INT32_MAX), ("grpc.max_send_message_length", _INT32_MAX)]
        self._channel = grpc.insecure_channel(target, options=limits)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def __enter__(self) -> "LocalizerClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def _call(self, method: grpc.UnaryUnaryMultiCallable, request: Any) -> Any:
        try:
            return method(request, timeout=self.timeout_s)
        except grpc.RpcError as error:
            details = " ".join((error.details() or "").split())
            raise ServerError(f"{self.target}: {error.code().name}: {details}") from None

    def input_shapes(self) -> dict[str, list[int]]:
        """Shapes of the model's inputs, -1 where any size goes.

        Raises:
          ServerError: the server is down or does not know the model.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self.model_name
        response = self._call(self._stub.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        inputs = signatures.signature_def["serving_default"].inputs
        return {name: [dim.size for dim in info.tensor_shape.dim] for name, info in inputs.items()}

    def check(self, measurement: Measurement) -> None:
        """Compares M and N with the model's.

        Raises:
          ValueError: they differ. ServerError: see `input_shapes`.
        """
        expected = self.input_shapes()["channel"]
        for letter, size, got in zip(("M", "N"), expected[1:], measurement.channel.shape[1:], strict=True):
            if size not in (-1, got):
                raise ValueError(f"channel: expected {letter} = {size} as the model {self.model_name}, got {got}")

    def predict(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of `serving_default` for a batch.

        Raises:
          ServerError: the server is down or refuses.
        """
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self.model_name
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        response = self._call(self._stub.Predict, request)
        return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def sources_of(outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The outputs as plain data, one entry a scene: num_sources and a list of sources."""
    return [
        {
            "num_sources": int(count),
            "sources": [
                {name: outputs[name][scene, slot].tolist() for name in _SOURCE_FIELDS} for slot in range(int(count))
            ],
        }
        for scene, count in enumerate(outputs["num_sources"])
    ]


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".json", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, allow_nan=False)
            file.write("\n")
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def main(argv: list[str] | None = None) -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(prog="python -m serving.client", description=__doc__)
    parser.add_argument("--target", required=True, help="HOST:PORT of the model server")
    parser.add_argument("--model_name", default="ris_localizer", help="the model's name on the server")
    parser.add_argument("--input", type=Path, required=True, help="measurement file, .npz")
    parser.add_argument("--output", type=Path, required=True, help="where the sources go, .json")
    parser.add_argument("--batch_size", type=int, default=20, help="scenes a request")
    parser.add_argument("--timeout_s", type=float, default=60.0, help="deadline of a request, seconds")
    options = parser.parse_args(argv)
    if options.batch_size < 1:
        parser.error(f"--batch_size: expected 1 or more, got {options.batch_size}")
    try:
        measurement = read_measurement(options.input)
        with LocalizerClient(options.target, options.model_name, options.timeout_s) as client:
            client.check(measurement)
            scenes: list[dict[str, Any]] = []
            with tqdm(total=len(measurement), unit="scene", desc="locate") as progress:
                for start in range(0, len(measurement), options.batch_size):
                    found = sources_of(client.predict(measurement.inputs(start, start + options.batch_size)))
                    scenes += found
                    progress.update(len(found))
        _write_json(options.output, scenes)
    except (ValueError, OSError, ServerError) as error:
        sys.exit(f"serving.client: {error}")


if __name__ == "__main__":
    main()
