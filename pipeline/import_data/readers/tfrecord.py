"""Reads TFRecord files of tf.train.Example with TensorFlow."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework.tensor_pb2 import TensorProto

from pipeline.import_data.readers import expect_names, unreadable


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads features by name, with records along the first axis.

    A list of numbers gives [record, value], a serialised tensor [record, ...].
    """
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            expect_names(path, names, list(features))
            for name in names:
                found[name].append(_values(path, name, features[name]))
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, DecodeError) as error:
        raise unreadable(path, "a TFRecord file", error) from None
    return {name: _stacked(path, name, values) for name, values in found.items()}


def _values(path: Path, name: str, feature: tf.train.Feature) -> np.ndarray:
    kind = feature.WhichOneof("kind")
    if kind == "bytes_list" and len(feature.bytes_list.value) == 1:
        return np.asarray(tf.make_ndarray(TensorProto.FromString(feature.bytes_list.value[0])))
    if kind in ("float_list", "int64_list"):
        return np.array(getattr(feature, kind).value)
    raise ValueError(f"{path}: {name}: expected a list of numbers or a serialised tensor, got {kind or 'nothing'}")


def _stacked(path: Path, name: str, values: list[np.ndarray]) -> np.ndarray:
    shapes = sorted({value.shape for value in values})
    if len(shapes) != 1:
        got = " and ".join(str(list(shape)) for shape in shapes) or "no records"
        raise ValueError(f"{path}: {name}: expected records of one shape, got {got}")
    return np.stack(values)
