"""TensorProto and JSON to arrays and back: dtypes, rules and words of TF Serving; no memory unpaid for."""

import base64
import binascii
import contextlib
import gc
import json
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.server.calls import ServingError, exhausted, invalid_argument, unimplemented

_MAX_FILLED_BYTES = 16 * 2**20
_MAX_ELEMENTS = 2**63 - 1
_MAX_CONTAINERS, _MAX_VALUES = 2**20, 2**21  # 32 scenes of 64 snapshots are 400,000 lists of 800,000 numbers
_SMALL, _LEVELS, _PIECES = 2**18, 3, 2**15
_LARGE = threading.Lock()
_DECODER, _SPACE = json.JSONDecoder(), re.compile(r"[ \t\n\r]*")
_SHOWN = 256
_KINDS = {
    type(None): "Null",
    bool: "Bool",
    dict: "Object",
    list: "Array",
    str: "String",
    int: "Number",
    float: "Number",
}
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


# JSON to arrays


def shown(value: Any) -> str:
    """A JSON value as errors quote it, cut after 256 characters."""
    text = ""
    for piece in json.JSONEncoder(default=np.ndarray.tolist).iterencode(value):
        text += piece
        if len(text) >= _SHOWN:
            break
    return text[:_SHOWN]


def kind_of(value: Any) -> str:
    """JSON's name of a value's type."""
    return str(value) if isinstance(value, bool) else _KINDS.get(type(value), "Array")


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object a body starts with; its size is bounded before it is parsed.

    Returns:
      What `json` makes of it; of a large body, lists of numbers deep inside are arrays of int64 or float64.

    Raises:
      ServingError: INVALID_ARGUMENT, there is none; RESOURCE_EXHAUSTED, it holds too many lists or values.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    lists, values = body.count(b"[") + body.count(b"{"), body.count(b",")
    if lists > _MAX_CONTAINERS or values > _MAX_VALUES:
        limits = f"at most {_MAX_CONTAINERS} lists and {_MAX_VALUES} values are taken"
        raise exhausted(f"JSON document of {lists} lists and {values} values: {limits}")
    try:
        value = _parsed_json(body.decode().lstrip())
    except json.JSONDecodeError as error:
        raise invalid_argument(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except UnicodeDecodeError as error:
        raise invalid_argument(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from None
    except (RecursionError, ValueError) as error:
        raise invalid_argument(f"JSON Parse error: {error}") from None
    if not isinstance(value, dict):
        raise invalid_argument(f"JSON Value: {shown(value)} Is not object")
    return value


# json.loads holds the interpreter's lock to the end, and the more lists it has made, the longer garbage collection
# takes. So the outer levels of a large document are taken apart here, and lists below become arrays one by one.


def _parsed_json(text: str) -> Any:
    if len(text) <= _SMALL:
        return _DECODER.raw_decode(text)[0]
    with _LARGE, _uncollected():
        return _decoded(text, 0, _LEVELS, iter(range(_PIECES)))[0]


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage is looked for: the parser makes none, and every look would visit all its lists."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _skip(text: str, at: int, expected: str = "") -> int:
    """Where the next token is, which begins with one of the characters expected, if any are."""
    at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
    if expected and text[at : at + 1] not in tuple(expected):
        raise json.JSONDecodeError(f"Expecting {' or '.join(map(repr, expected))}", text, at)
    return at


def _decoded(text: str, at: int, levels: int, pieces: Iterator[int]) -> tuple[Any, int]:
    """The value at a place, and the place behind it; `levels` of containers are taken apart, while `pieces` last."""
    inner, named, left = _skip(text, at + 1), text[at : at + 1] == "{", next(pieces, None) is not None
    if not (levels and left and text[at : at + 1] + text[inner : inner + 1] in ('{"', "[[", "[{")):
        value, end = _DECODER.raw_decode(text, at)
        return (_compact(value) if left and not levels else value), end
    names, items, closing, at = [], [], "}" if named else "]", inner
    while True:
        if named:
            name, at = _DECODER.raw_decode(text, _skip(text, at, '"'))
            names.append(name)
            at = _skip(text, _skip(text, at, ":") + 1)
        item, at = _decoded(text, at, levels - 1, pieces)
        items.append(item)
        at = _skip(text, at, "," + closing)
        if text[at] == closing:
            return (dict(zip(names, items, strict=True)) if named else items), at + 1
        at = _skip(text, at + 1)


def _compact(value: Any) -> Any:
    """Nested lists of numbers as an array of int64 or float64; anything else as it is."""
    try:
        shape, scalars = _leaves(value) if isinstance(value, list) else ([], [])
        kinds = set(map(type, scalars))
        if kinds and kinds <= {int, float}:
            return np.array(scalars, np.int64 if kinds == {int} else np.float64).reshape(shape)
    except (ServingError, OverflowError):
        pass
    return value


def _joined(value: Any) -> Any:
    """Nested lists of arrays as one array where they have one shape, else as lists."""
    if not isinstance(value, list):
        return value
    parts = [_joined(part) for part in value]
    if all(isinstance(part, np.ndarray) for part in parts) and len({part.shape for part in parts}) == 1:
        return np.stack(parts)
    return [part.tolist() if isinstance(part, np.ndarray) else part for part in parts]


def _numbers(value: Any, dtype: np.dtype) -> Any:
    """What `_decoded` left, as an array if that is all the dtype asks, else as lists."""
    first = value
    while isinstance(first, list) and first:
        first = first[0]
    joined = _joined(value) if isinstance(first, np.ndarray) else value
    if isinstance(joined, np.ndarray):
        return joined.astype(dtype) if dtype.kind == "f" else joined.tolist()
    return joined


def is_base64(value: Any) -> bool:
    """Whether a value stands for bytes: {"b64": TEXT}."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def decoded_base64(value: Any) -> bytes:
    """The bytes of {"b64": TEXT}.

    Raises:
      ServingError: INVALID_ARGUMENT; it is nothing of the kind.
    """
    if not is_base64(value):
        raise invalid_argument(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise invalid_argument("Unable to base64 decode") from None


def _leaves(value: Any) -> tuple[list[int], list[Any]]:
    """Shape and scalars of nested lists, the shape being that of the first element all the way down."""
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    values = [value]
    for level, size in enumerate(shape):
        for entry in values:
            if not isinstance(entry, list):
                raise invalid_argument(
                    f"JSON Value: {shown(entry)} found at incorrect level: {level + 1} in the JSON DOM. "
                    f"Expected at level: {len(shape)}"
                )
            if len(entry) != size:
                raise invalid_argument(
                    f"Encountered list at unexpected size: {len(entry)} at level: {level} expected size: {size}"
                )
        values = [scalar for entry in values for scalar in entry]
    if any(isinstance(scalar, list) for scalar in values):
        raise invalid_argument(f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}")
    return shape, values


def _fits(dtype: np.dtype) -> Callable[[Any], bool]:
    """Whether a scalar may stand for a value of the dtype."""
    if dtype.kind == "f":
        return lambda value: type(value) in (int, float)
    if dtype.kind == "b":
        return lambda value: type(value) is bool
    if dtype.kind == "O":
        return lambda value: isinstance(value, str)
    limits = np.iinfo(dtype)
    return lambda value: type(value) is int and limits.min <= value <= limits.max


def array_of_json(value: Any, dtype: np.dtype) -> np.ndarray:
    """Nested lists as an array.

    Args:
      value: what JSON held; for strings, text or {"b64": TEXT}.
      dtype: of the signature's input.

    Raises:
      ServingError: INVALID_ARGUMENT, the lists are ragged or hold something else; UNIMPLEMENTED, JSON has no such type.
    """
    value = _numbers(value, dtype)
    if isinstance(value, np.ndarray):
        return value
    shape, scalars = _leaves(value)
    if dtype.kind not in "fbOiu":
        shown_value = shown(scalars[0] if scalars else value)
        raise unimplemented(f"Conversion of JSON Value: {shown_value} to type: {dtype_name(dtype)}")
    if dtype.kind == "O":
        scalars = [decoded_base64(scalar) if isinstance(scalar, dict) else scalar for scalar in scalars]
        scalars = [scalar.encode(errors="replace") if isinstance(scalar, str) else scalar for scalar in scalars]
        wrong = [scalar for scalar in scalars if not isinstance(scalar, bytes)]
    else:
        fits = _fits(dtype)
        wrong = [scalar for scalar in scalars if not fits(scalar)]
    if wrong:
        raise invalid_argument(
            f"JSON Value: {shown(wrong[0])} Type: {kind_of(wrong[0])} is not of expected type: {dtype_name(dtype)}"
        )
    array = np.empty(len(scalars), dtype)
    try:
        array[:] = scalars
    except OverflowError:
        raise invalid_argument(f"JSON Value: {shown(value)} is not of expected type: {dtype_name(dtype)}") from None
    return array.reshape(shape)


# Arrays to JSON


def _decimal(dtype: np.dtype) -> Callable[[float], str]:
    """Six digits if they stand for the number exactly, else all of them; whole numbers end in .0."""
    digits = {2: 5, 4: 9}.get(dtype.itemsize, 17)

    def write(value: float) -> str:
        if value != value:
            return "NaN"
        if value in (np.inf, -np.inf):
            return "Infinity" if value > 0 else "-Infinity"
        text = f"{value:.6g}"
        if dtype.type(text) != value:
            text = f"{value:.{digits}g}"
        return text if "." in text or "e" in text else text + ".0"

    return write


def _text(value: bytes) -> str:
    return json.dumps(value.decode(errors="replace"), ensure_ascii=False)


def _bytes(value: bytes) -> str:
    return f'{{"b64": "{base64.b64encode(value).decode()}"}}'


def _scalars(array: np.ndarray, as_bytes: bool) -> Iterable[str]:
    if array.dtype.kind == "O":
        return map(_bytes if as_bytes else _text, array.reshape(-1))
    if array.dtype.kind == "b":
        return ("true" if value else "false" for value in array.reshape(-1))
    if array.dtype.kind in "iu":
        return map(str, array.reshape(-1).tolist())
    if array.dtype.kind == "f":
        return map(_decimal(array.dtype), array.reshape(-1).tolist())
    raise invalid_argument(f"Failed to write JSON value for tensor type: {dtype_name(array.dtype)}")


def json_of_array(array: np.ndarray, as_bytes: bool = False) -> str:
    """An array as nested JSON lists, numbers as TF Serving writes them: NaN, Infinity, shortest decimals.

    Args:
      array: any dtype but complex.
      as_bytes: strings as {"b64": TEXT}.

    Raises:
      ServingError: INVALID_ARGUMENT; JSON has no such type.
    """
    pieces = list(_scalars(array, as_bytes))
    for axis in reversed(range(array.ndim)):
        size, rows = array.shape[axis], int(np.prod(array.shape[:axis]))
        pieces = ["[" + ", ".join(pieces[row * size : (row + 1) * size]) + "]" for row in range(rows)]
    return pieces[0]
