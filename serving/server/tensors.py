"""TensorProto to array and back: every dtype TF Serving takes, and no allocation a message did not pay for."""

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.server.errors import invalid_argument

_MAX_FILLED_BYTES = 16 * 2**20
_MAX_ELEMENTS = 2**63 - 1
_TENSORFLOW_NAMES = {"float32": "float", "float64": "double", "float16": "half", "object": "string"}

# dtype: (NumPy's, field that holds the values, dtype of the field's numbers)
_TYPES: dict[int, tuple[np.dtype, str, np.dtype]] = {
    number: (np.dtype(dtype), field, np.dtype(stored))
    for number, dtype, field, stored in (
        (types_pb2.DT_HALF, np.float16, "half_val", np.int32),
        (types_pb2.DT_BFLOAT16, tf.bfloat16.as_numpy_dtype, "half_val", np.int32),
        (types_pb2.DT_FLOAT, np.float32, "float_val", np.float32),
        (types_pb2.DT_DOUBLE, np.float64, "double_val", np.float64),
        (types_pb2.DT_INT8, np.int8, "int_val", np.int32),
        (types_pb2.DT_UINT8, np.uint8, "int_val", np.int32),
        (types_pb2.DT_INT16, np.int16, "int_val", np.int32),
        (types_pb2.DT_UINT16, np.uint16, "int_val", np.int32),
        (types_pb2.DT_INT32, np.int32, "int_val", np.int32),
        (types_pb2.DT_INT64, np.int64, "int64_val", np.int64),
        (types_pb2.DT_UINT32, np.uint32, "uint32_val", np.uint32),
        (types_pb2.DT_UINT64, np.uint64, "uint64_val", np.uint64),
        (types_pb2.DT_BOOL, np.bool_, "bool_val", np.bool_),
        (types_pb2.DT_COMPLEX64, np.complex64, "scomplex_val", np.float32),
        (types_pb2.DT_COMPLEX128, np.complex128, "dcomplex_val", np.float64),
        (types_pb2.DT_STRING, np.object_, "string_val", np.object_),
    )
}
_NUMBERS = {dtype: number for number, (dtype, _, _) in _TYPES.items()}


def dtype_name(dtype: np.dtype) -> str:
    """TensorFlow's name of a dtype: float, double, complex64, string."""
    return _TENSORFLOW_NAMES.get(dtype.name, dtype.name)


def _held(proto: tensor_pb2.TensorProto, elements: int) -> np.ndarray:
    """The first `elements` of the values in the proto's typed field."""
    dtype, field, stored = _TYPES[proto.dtype]
    values = getattr(proto, field)
    if dtype.kind == "c":
        return np.array(values[: 2 * elements], stored).reshape(-1, 2).copy().view(dtype)[:, 0]
    array = np.array(values[:elements], stored)
    return array.astype(np.uint16).view(dtype) if field == "half_val" else array.astype(dtype)


def _parsed(proto: tensor_pb2.TensorProto) -> np.ndarray:
    if proto.dtype not in _TYPES or proto.tensor_shape.unknown_rank:
        raise ValueError("no dtype or no rank")
    dtype = _TYPES[proto.dtype][0]
    shape = [dim.size for dim in proto.tensor_shape.dim]
    elements = math.prod(shape)
    if any(size < 0 for size in shape) or elements > _MAX_ELEMENTS:
        raise ValueError("negative or too large a shape")
    if proto.tensor_content:
        if dtype.kind == "O" or len(proto.tensor_content) != elements * dtype.itemsize:
            raise ValueError("content does not fill the shape")
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    held = _held(proto, elements)
    if len(held) < elements:  # TensorFlow repeats the last value, or zero
        if elements * dtype.itemsize > _MAX_FILLED_BYTES:
            raise ValueError("a large shape without content")
        filled = np.full(elements, held[-1] if len(held) else b"" if dtype.kind == "O" else 0, dtype)
        filled[: len(held)] = held
        held = filled
    return held.reshape(shape)


def array_of(proto: tensor_pb2.TensorProto, alias: str) -> np.ndarray:
    """The tensor's values.

    A shape with fewer values than elements is filled as TensorFlow fills it, up to 16 MiB; strings are bytes objects.

    Args:
      proto: what came.
      alias: the input's name, for the error.

    Raises:
      ServingError: INVALID_ARGUMENT; dtype, shape and content do not make a tensor.
    """
    try:
        return _parsed(proto)
    except (ValueError, OverflowError, TypeError, MemoryError):
        raise invalid_argument(f"tensor parsing error: {alias}") from None


def proto_of(array: np.ndarray) -> tensor_pb2.TensorProto:
    """The array in the typed field of its dtype, where TF Serving puts it and its stock clients read it."""
    number = _NUMBERS[array.dtype]
    dtype, field, _ = _TYPES[number]
    proto = tensor_pb2.TensorProto(dtype=number)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    flat = np.ascontiguousarray(array).reshape(-1)
    if dtype.kind == "c":
        flat = flat.view(flat.real.dtype)
    elif field == "half_val":
        flat = flat.view(np.uint16)
    getattr(proto, field).extend(flat.tolist())
    return proto


def numpy_dtype(number: int) -> np.dtype:
    """NumPy's dtype for a DataType number."""
    return _TYPES[number][0]
