"""Conversion between TensorProto, JSON and arrays, with TF Serving's dtypes, rules and messages.

Sizes are checked before memory is allocated.
"""

import base64
import binascii
import gc
import itertools
import json
import math
import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.server.calls import NO_DEADLINE, Call, invalid_argument, resource_exhausted, unimplemented

_MAX_FILLED_BYTES = 16 * 2**20
_MAX_LISTS, _MAX_VALUES = 2**20, 2**21  # 32 scenes of 64 snapshots: 400,000 lists, 800,000 numbers
_SMALL_CHARS, _QUOTED_CHARS, _POLL_S = 2**18, 256, 0.1
_LARGE_JSON = threading.Lock()
_KINDS = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
_FIELDS = {"float32": "float_val", "float64": "double_val", "complex64": "scomplex_val", "complex128": "dcomplex_val",
           "float16": "half_val", "bfloat16": "half_val", "bool": "bool_val", "object": "string_val",
           "int64": "int64_val", "uint32": "uint32_val", "uint64": "uint64_val",
           **dict.fromkeys(("int8", "uint8", "int16", "uint16", "int32"), "int_val")}  # fmt: skip


def dtype_name(dtype: np.dtype) -> str:
    """Returns TensorFlow's name of a dtype: float, double, complex64, string."""
    return types_pb2.DataType.Name(tf.as_dtype(dtype).as_datatype_enum).removeprefix("DT_").lower()


def _numpy_dtype(data_type: int) -> np.dtype:
    """Converts a DataType number to a NumPy dtype. Raises: KeyError or TypeError: there is none."""
    if data_type in (types_pb2.DT_RESOURCE, types_pb2.DT_VARIANT):
        raise KeyError(data_type)
    return np.dtype(tf.as_dtype(data_type).as_numpy_dtype)


def _parsed(proto: tensor_pb2.TensorProto) -> np.ndarray:
    dtype, shape = _numpy_dtype(proto.dtype), [dim.size for dim in proto.tensor_shape.dim]
    elements, field = math.prod(shape), _FIELDS[dtype.name]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape) or elements >= 2**63:
        raise ValueError("no rank, or a negative or too large a shape")
    values, per_element = getattr(proto, field), 2 if dtype.kind == "c" else 1
    given = len(values) // per_element
    if proto.tensor_content and (dtype.kind == "O" or len(proto.tensor_content) != elements * dtype.itemsize):
        raise ValueError("content does not fill the shape")
    if not proto.tensor_content and given < elements and elements * dtype.itemsize > _MAX_FILLED_BYTES:
        raise ValueError("a large shape without content")
    if given > elements:  # TensorFlow ignores the rest
        del values[elements * per_element :]
    if given == 0 and not proto.tensor_content:
        return np.full(shape, b"" if dtype.kind == "O" else 0, dtype)
    return tf.make_ndarray(proto)


def array_of(proto: tensor_pb2.TensorProto, alias: str) -> np.ndarray:
    """Converts a TensorProto to an array; strings become bytes objects.

    If there are fewer values than elements, the last value is repeated as TensorFlow does, up to 16 MiB. Raises
    ServingError, which names the input's alias, if dtype, shape and content do not match.
    """
    try:
        return _parsed(proto)
    except (ValueError, OverflowError, TypeError, KeyError, MemoryError):
        raise invalid_argument(f"tensor parsing error: {alias}") from None


def proto_of(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Converts an array to a TensorProto, with its values in the typed field, which TF Serving's examples read."""
    shape, number = tf.TensorShape(array.shape).as_proto(), tf.as_dtype(array.dtype).as_datatype_enum
    proto = tensor_pb2.TensorProto(dtype=number, tensor_shape=shape)
    flat, field = np.ascontiguousarray(array).reshape(-1), _FIELDS[array.dtype.name]
    if array.dtype.kind == "c":
        flat = flat.view(flat.real.dtype)
    elif field == "half_val":
        flat = flat.view(np.uint16)
    getattr(proto, field).extend(flat.tolist())
    return proto


def quoted(value: Any) -> str:
    """Formats a JSON value for an error message, cut after 256 characters."""
    return "".join(itertools.islice(json.JSONEncoder().iterencode(value), _QUOTED_CHARS))[:_QUOTED_CHARS]


def parse_object(body: bytes, call: Call = NO_DEADLINE) -> dict[str, Any]:
    """Parses the JSON object at the start of a body, after a check of its size.

    Raises: ServingError: INVALID_ARGUMENT if there is no such object; RESOURCE_EXHAUSTED if it has too many lists or
    values; as `Call.check` if the call ends while it waits to be parsed.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    lists, values = body.count(b"[") + body.count(b"{"), body.count(b",")
    if lists > _MAX_LISTS or values > _MAX_VALUES:
        limits = f"at most {_MAX_LISTS} lists and {_MAX_VALUES} values are accepted"
        raise resource_exhausted(f"JSON document of {lists} lists and {values} values: {limits}")
    try:
        value = _parsed_json(body.decode().lstrip(), call)
    except json.JSONDecodeError as error:
        raise invalid_argument(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except UnicodeDecodeError as error:
        raise invalid_argument(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from None
    except (RecursionError, ValueError) as error:
        raise invalid_argument(f"JSON Parse error: {error}") from None
    if not isinstance(value, dict):
        raise invalid_argument(f"JSON Value: {quoted(value)} Is not object")
    return value


def _parsed_json(text: str, call: Call) -> Any:
    """Parses JSON; large documents one at a time, to bound memory.

    Garbage collection is off meanwhile: the parser creates no cycles, and each collection would visit all lists, which
    takes longer than parsing.
    """
    if len(text) <= _SMALL_CHARS:
        return json.JSONDecoder().raw_decode(text)[0]
    while not _LARGE_JSON.acquire(timeout=_POLL_S):
        call.check()
    enabled = gc.isenabled()
    gc.disable()
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    finally:
        (gc.enable if enabled else gc.disable)()
        _LARGE_JSON.release()


def is_base64(value: Any) -> bool:
    """Returns whether a value has the form {"b64": TEXT}, which stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _leaves(value: Any) -> tuple[list[int], list[Any]]:
    """Returns shape and scalars of nested lists; the first element at each level determines the shape."""
    shape, first = [], value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    scalars = [value]
    for level, size in enumerate(shape):
        for part in scalars:
            if not isinstance(part, list):
                text = f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
                raise invalid_argument(f"JSON Value: {quoted(part)} {text}")
            if len(part) != size:
                text = f"Encountered list at unexpected size: {len(part)} at level: {level} expected size: {size}"
                raise invalid_argument(text)
        scalars = [scalar for part in scalars for scalar in part]
    if any(isinstance(scalar, list) for scalar in scalars):
        raise invalid_argument(f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}")
    return shape, scalars


def _as_bytes(value: Any) -> Any:
    """Converts text or {"b64": TEXT} to bytes; returns other values unchanged."""
    if not is_base64(value):
        return value.encode(errors="replace") if isinstance(value, str) else value
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise invalid_argument("Unable to base64 decode") from None


def array_of_json(value: Any, data_type: int) -> np.ndarray:
    """Converts nested lists to an array of a DataType number; strings are text or {"b64": TEXT}.

    Raises: ServingError: INVALID_ARGUMENT if the lists are ragged or a value does not fit the type; UNIMPLEMENTED if
    JSON cannot represent the type.
    """
    dtype, (shape, scalars) = _numpy_dtype(data_type), _leaves(value)
    types = {"f": (int, float), "b": (bool,), "O": (bytes,), "i": (int,), "u": (int,)}.get(dtype.kind)
    if types is None:
        first = quoted(scalars[0] if scalars else value)
        raise unimplemented(f"Conversion of JSON Value: {first} to type: {dtype_name(dtype)}")
    if dtype.kind == "O":
        scalars = [_as_bytes(scalar) for scalar in scalars]
    least, most = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind in "iu" else (-math.inf, math.inf)
    for scalar in scalars:
        if type(scalar) not in types or (types == (int,) and not least <= scalar <= most):
            kind = str(scalar) if isinstance(scalar, bool) else _KINDS[type(scalar)]
            text = f"JSON Value: {quoted(scalar)} Type: {kind} is not of expected type: {dtype_name(dtype)}"
            raise invalid_argument(text)
    array = np.empty(len(scalars), dtype)
    try:
        array[:] = scalars
    except OverflowError:
        raise invalid_argument(f"JSON Value: {quoted(value)} is not of expected type: {dtype_name(dtype)}") from None
    return array.reshape(shape)


def _decimal(value: float, dtype: np.dtype) -> str:
    """Formats a number with six digits if they are exact, otherwise with all; whole numbers end in .0."""
    if value != value:
        return "NaN"
    if value in (np.inf, -np.inf):
        return "Infinity" if value > 0 else "-Infinity"
    text = f"{value:.6g}"
    if dtype.type(text) != value:
        text = f"{value:.{ {2: 5, 4: 9}.get(dtype.itemsize, 17) }g}"
    return text if "." in text or "e" in text else text + ".0"


def _scalars(array: np.ndarray, as_bytes: bool) -> Iterable[str]:
    flat = array.reshape(-1).tolist()
    if array.dtype.kind == "O" and as_bytes:
        return (f'{{"b64": "{base64.b64encode(value).decode()}"}}' for value in flat)
    if array.dtype.kind == "O":
        return (json.dumps(value.decode(errors="replace"), ensure_ascii=False) for value in flat)
    if array.dtype.kind in "biu":
        return map(json.dumps, flat)
    if array.dtype.kind == "f":
        return (_decimal(value, array.dtype) for value in flat)
    raise invalid_argument(f"Failed to write JSON value for tensor type: {dtype_name(array.dtype)}")


def json_of_array(array: np.ndarray, as_bytes: bool = False) -> str:
    """Converts an array to nested JSON lists; numbers are formatted as in TF Serving: NaN, Infinity, shortest decimals.

    With `as_bytes`, strings become {"b64": TEXT}. Raises ServingError if JSON cannot represent the dtype.
    """
    pieces = list(_scalars(array, as_bytes))
    for axis in reversed(range(array.ndim)):
        size, rows = array.shape[axis], int(np.prod(array.shape[:axis]))
        pieces = ["[" + ", ".join(pieces[row * size : (row + 1) * size]) + "]" for row in range(rows)]
    return pieces[0]
