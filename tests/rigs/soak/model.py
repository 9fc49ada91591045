"""A fast SavedModel whose answers show which version gave them."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

NAME = "half_plus"


class HalfPlus(tf.Module):
    """y = x / 2 + offset. The signature `add` refuses numbers that are not finite, and `slow` takes long."""

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
        """Computes for a fraction of a millisecond per turn."""
        matrix = tf.eye(160)
        for _ in tf.range(tf.reduce_max(turns)):
            matrix = tf.matmul(matrix, tf.eye(160))
        return {"done": turns + tf.cast(matrix[0, 0] - 1.0, tf.int32)}


def write_version(base_path: Path, version: int) -> None:
    """Saves a version that adds its own number, first under another name, then renames it into place."""
    model = HalfPlus(float(version))
    signatures = {"serving_default": model.predict, "add": model.add, "slow": model.slow}
    tf.saved_model.save(model, str(base_path / "staging"), signatures=signatures)
    os.rename(base_path / "staging", base_path / str(version))


def request_of(signature: str = "", /, **inputs: object) -> predict_pb2.PredictRequest:
    """Returns a request to the model."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = NAME, signature
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(np.asarray(value)))
    return request
