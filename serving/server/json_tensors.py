"""JSON values to arrays and back, with TF Serving's rules and words (docs of its REST API)."""

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from typing import Any

import grpc
import numpy as np

from serving.server.errors import ServingError, invalid_argument
from serving.server.tensors import dtype_name

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


def shown(value: Any) -> str:
    """A JSON value as errors quote it, cut after 256 characters."""
    text = ""
    for piece in json.JSONEncoder().iterencode(value):
        text += piece
        if len(text) >= _SHOWN:
            break
    return text[:_SHOWN]


def kind_of(value: Any) -> str:
    """JSON's name of a value's type."""
    return str(value) if isinstance(value, bool) else _KINDS[type(value)]


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object a body starts with.

    Raises:
      ServingError: INVALID_ARGUMENT; there is none.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        value, _ = json.JSONDecoder().raw_decode(body.decode().lstrip())
    except json.JSONDecodeError as error:
        raise invalid_argument(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except UnicodeDecodeError as error:
        raise invalid_argument(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from None
    except (RecursionError, ValueError) as error:
        raise invalid_argument(f"JSON Parse error: {error}") from None
    if not isinstance(value, dict):
        raise invalid_argument(f"JSON Value: {shown(value)} Is not object")
    return value


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
    shape, scalars = _leaves(value)
    if dtype.kind not in "fbOiu":
        text = f"Conversion of JSON Value: {shown(scalars[0] if scalars else value)} to type: {dtype_name(dtype)}"
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, text)
    if dtype.kind == "O":
        scalars = [decoded_base64(scalar) if isinstance(scalar, dict) else scalar for scalar in scalars]
        scalars = [scalar.encode() if isinstance(scalar, str) else scalar for scalar in scalars]
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


# Writing


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


def json_of_float(value: float) -> str:
    """A float32."""
    return _decimal(np.dtype(np.float32))(value)
