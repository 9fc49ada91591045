"""One loaded model version: signatures and their execution, checked in the order TF Serving checks them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.errors import ServingError, invalid_argument

DEFAULT_SIGNATURE = "serving_default"


def _names(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


class Servable:
    """A SavedModel with tag `serve`, run through a session as TF Serving does.

    Args:
      directory: the version's folder.
      version: its number.

    Raises:
      OSError, ValueError, tf.errors.OpError: it can't be loaded.
    """

    def __init__(self, directory: Path, version: int) -> None:
        self.version = version
        graph = tf.Graph()
        with graph.as_default():
            self._session = tf.compat.v1.Session(graph=graph)
            meta_graph = tf.compat.v1.saved_model.load(self._session, ["serve"], str(directory))
        self.signatures: Mapping[str, meta_graph_pb2.SignatureDef] = meta_graph.signature_def

    def close(self) -> None:
        """Frees the session."""
        self._session.close()

    def predict(
        self, signature_name: str, inputs: Mapping[str, tensor_pb2.TensorProto], output_filter: Iterable[str]
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
          signature_name: empty for `serving_default`.
          inputs: by alias.
          output_filter: aliases wanted, all of them if empty.

        Raises:
          ServingError: with TF Serving's code and message.
        """
        name = signature_name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        signature = self.signatures[name]
        feeds = self._feeds(signature, inputs)
        wanted = self._wanted(signature, list(output_filter))
        try:
            values = self._session.run([signature.outputs[alias].name for alias in wanted], feeds)
        except tf.errors.OpError as error:
            code = next(status for status in grpc.StatusCode if status.value[0] == error.error_code)
            raise ServingError(code, error.message) from error
        return dict(zip(wanted, values, strict=True))

    def _feeds(
        self, signature: meta_graph_pb2.SignatureDef, inputs: Mapping[str, tensor_pb2.TensorProto]
    ) -> dict[str, np.ndarray]:
        if len(inputs) != len(signature.inputs):
            sent, expected = set(inputs), set(signature.inputs)
            raise invalid_argument(
                f"input size does not match signature: {len(sent)}!={len(expected)} "
                f"len({_names(sent)}) != len({_names(expected)}). "
                f"Sent extra: {_names(sent - expected)}. Missing but required: {_names(expected - sent)}."
            )
        feeds = {}
        for position, (alias, info) in enumerate(sorted(signature.inputs.items())):
            if alias not in inputs:
                raise invalid_argument(
                    f"Signature input alias: {alias}(feed name: {info.name}) not found in request. "
                    f"Inputs expected to be in the set {_names(signature.inputs)}."
                )
            try:
                value = tf.make_ndarray(inputs[alias])
            except (TypeError, ValueError) as error:
                raise invalid_argument(f"tensor parsing error: {alias}") from error
            if inputs[alias].dtype != info.dtype:
                expected_name = tf.as_dtype(info.dtype).name.replace("float32", "float").replace("float64", "double")
                got = tf.as_dtype(inputs[alias].dtype).name.replace("float32", "float").replace("float64", "double")
                raise invalid_argument(f"Expects arg[{position}] to be {expected_name} but {got} is provided")
            if not tf.TensorShape(info.tensor_shape).is_compatible_with(value.shape):
                shape = [-1 if size is None else size for size in tf.TensorShape(info.tensor_shape)]
                raise invalid_argument(f"{alias}: expected shape {shape} (-1 is any size), got {list(value.shape)}")
            feeds[info.name] = value
        return feeds

    def _wanted(self, signature: meta_graph_pb2.SignatureDef, output_filter: list[str]) -> list[str]:
        for place, alias in enumerate(output_filter):
            if alias not in signature.outputs:
                raise invalid_argument(
                    f"output tensor alias not found in signature: {alias} "
                    f"Outputs expected to be in the set {_names(signature.outputs)}."
                )
            if alias in output_filter[:place]:
                raise invalid_argument(f"duplicate output tensor alias: {alias}")
        return output_filter or sorted(signature.outputs)
