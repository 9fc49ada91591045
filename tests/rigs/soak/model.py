"""A SavedModel that takes no time and whose answers tell which version gave them."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

NAME = "half_plus"


class HalfPlus(tf.Module):
    """y = x / 2 + offset, and a signature that refuses and one that takes its time."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.half, self.offset = tf.Variable(0.5), tf.Variable(offset)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def predict(self, x):
        return {"y": self.half * x + self.offset}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "a"), tf.TensorSpec([None], tf.float32, "b")])
    def add(self, a, b):
        finite = tf.debugging.assert_all_finite(a, "a: expected finite numbers")
        return {"sum": finite + b, "difference": finite - b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "turns")])
    def slow(self, turns):
        """Busy for a part of a millisecond a turn."""
        matrix = tf.eye(160)
        for _ in tf.range(tf.reduce_max(turns)):
            matrix = tf.matmul(matrix, tf.eye(160))
        return {"done": turns + tf.cast(matrix[0, 0] - 1.0, tf.int32)}


def write_version(base_path: Path, version: int) -> None:
    """Saves a version that adds its own number, beside its place, and renames it there."""
    model = HalfPlus(float(version))
    signatures = {"serving_default": model.predict, "add": model.add, "slow": model.slow}
    tf.saved_model.save(model, str(base_path / "staging"), signatures=signatures)
    os.rename(base_path / "staging", base_path / str(version))


def request_of(signature: str = "", /, **inputs: object) -> predict_pb2.PredictRequest:
    """A request to the model."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = NAME, signature
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(np.asarray(value)))
    return request
