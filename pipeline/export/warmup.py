"""Warm-up records: requests that a server replays before it serves a version.

The first request to a signature takes seconds, while TensorFlow prunes, optimises and places the graph. With warm-up
records no client waits for that.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from models.physics.geometry import Scenario
from tfds_shards.inputs import simulated_inputs

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000  # TF Serving rejects a version with more


def check_batch_sizes(batch_sizes: Sequence[int], num_signatures: int) -> None:
    """Checks the batch sizes of the warm-up requests: 1 or more each, and at most `MAX_RECORDS` records."""
    if any(size < 1 for size in batch_sizes):
        raise ValueError(f"warmup_batch_sizes: expected 1 or more scenes per request, got {min(batch_sizes)}")
    most = MAX_RECORDS // num_signatures
    if len(batch_sizes) > most:
        raise ValueError(
            f"warmup_batch_sizes: expected at most {most} sizes for {num_signatures} signatures, got {len(batch_sizes)}"
        )


def _to_proto(info: meta_graph_pb2.TensorInfo, value: np.ndarray) -> tensor_pb2.TensorProto:
    """Converts `value` to the dtype of a signature's input: complex numbers, or a trailing axis of 2."""
    if np.iscomplexobj(value) and not tf.as_dtype(info.dtype).is_complex:
        value = np.stack([value.real, value.imag], axis=-1)
    return tf.make_tensor_proto(value, dtype=tf.as_dtype(info.dtype))


def write_warmup_requests(
    version: Path,
    signatures: Mapping[str, meta_graph_pb2.SignatureDef],
    model_name: str,
    scenario: Scenario,
    batch_sizes: Sequence[int],
    channel: np.ndarray | None = None,
) -> None:
    """Writes a PredictionLog for every signature and batch size to `WARMUP_FILE` of a version. Without sizes, no file.

    Args:
      version: folder of the SavedModel.
      signatures: signatures to warm up, by name.
      model_name: model name in the requests; a server replays them under any name.
      scenario: installation to simulate scenes for.
      batch_sizes: number of scenes in each request.
      channel: [M, N] complex64, for a model whose calibration corrects one channel; None simulates a channel.
    """
    if not batch_sizes:
        return
    scenes = simulated_inputs(scenario, max(batch_sizes))
    if channel is not None:
        scenes["channel"] = np.broadcast_to(channel, scenes["channel"].shape)
    path = version / WARMUP_FILE
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature_name, signature in sorted(signatures.items()):
            for size in batch_sizes:
                request = predict_pb2.PredictRequest()
                request.model_spec.name, request.model_spec.signature_name = model_name, signature_name
                for alias, info in signature.inputs.items():
                    request.inputs[alias].CopyFrom(_to_proto(info, scenes[alias][:size]))
                log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
                writer.write(log.SerializeToString())
