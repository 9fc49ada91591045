"""Converts NumPy arrays to TensorProtos and back, without TensorFlow."""

import math
from typing import Any

import numpy as np

from serving.client.messages import TensorProto

# DataType of types.proto: (dtype, the field whose list may stand in for tensor_content)
_DTYPES: dict[int, tuple[np.dtype, str]] = {
    number: (np.dtype(name).newbyteorder("<"), field)
    for number, name, field in (
        (1, "float32", "float_val"),
        (2, "float64", "double_val"),
        (3, "int32", "int_val"),
        (4, "uint8", "int_val"),
        (5, "int16", "int_val"),
        (6, "int8", "int_val"),
        (8, "complex64", "scomplex_val"),
        (9, "int64", "int64_val"),
        (10, "bool", "bool_val"),
        (17, "uint16", "int_val"),
        (18, "complex128", "dcomplex_val"),
        (19, "float16", "half_val"),
        (22, "uint32", "uint32_val"),
        (23, "uint64", "uint64_val"),
    )
}
_NUMBERS = {dtype: number for number, (dtype, _) in _DTYPES.items()}


def tensor_of(array: np.ndarray, name: str) -> Any:
    """The TensorProto of an array of numbers. Raises ValueError, which begins with `name`, for another dtype."""
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _NUMBERS:
        raise ValueError(f"{name}: expected an array of numbers, got dtype {array.dtype}")
    tensor = TensorProto(dtype=_NUMBERS[dtype], tensor_content=array.astype(dtype, copy=False).tobytes())
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def array_of(tensor: Any, name: str) -> np.ndarray:
    """The array of a TensorProto of numbers.

    Where the message lists fewer values than the shape has elements, the last value repeats; an empty list means zeros.
    Raises ValueError, which begins with `name`, if the content is not numbers or does not match the shape.
    """
    if tensor.dtype not in _DTYPES:
        raise ValueError(f"{name}: expected a tensor of numbers, got DataType {tensor.dtype}")
    dtype, field = _DTYPES[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    size = math.prod(shape)
    if tensor.tensor_content:
        got = len(tensor.tensor_content)
        if got != size * dtype.itemsize:
            raise ValueError(f"{name}: expected {size * dtype.itemsize} bytes for {dtype.name} {shape}, got {got}")
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape).copy()
    values = _listed(getattr(tensor, field), dtype)
    if len(values) > size:
        raise ValueError(f"{name}: expected at most {size} values for {dtype.name} {shape}, got {len(values)}")
    last = values[-1:] if len(values) else np.zeros(1, dtype)
    return np.concatenate([values, np.repeat(last, size - len(values))]).reshape(shape)


def _listed(values: Any, dtype: np.dtype) -> np.ndarray:
    """Complex numbers are listed as alternating real and imaginary parts, 16-bit floats by their bits."""
    if dtype.kind == "c":
        return np.array(values, np.float32 if dtype.itemsize == 8 else np.float64).view(dtype)
    if dtype == np.float16:
        return np.array(values, np.uint16).view(dtype)
    return np.array(values, dtype)
