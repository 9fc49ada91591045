"""TF Serving's REST API: converts HTTP requests to calls of `ServerCore`, and its answers to JSON."""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import numpy as np
from google.protobuf import json_format
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from serving.server.calls import Call, ServingError, invalid_argument, resource_exhausted, unimplemented
from serving.server.core import METADATA_FIELD, ServerCore
from serving.server.servable import DEFAULT_SIGNATURE
from serving.server.tensors import array_of, array_of_json, is_base64, json_of_array, parse_object, proto_of, quoted

Inputs = Mapping[str, meta_graph_pb2.TensorInfo]

_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_INFER = re.compile(rf"/v1/models/(?P<model>[^/:]+){_VERSION}:(?P<method>classify|regress|predict)", re.I | re.ASCII)
_SHOW = re.compile(rf"/v1/models(?:/(?P<model>[^/:]+))?{_VERSION}(?:/(?P<method>metadata))?", re.I | re.ASCII)
_MAX_VERSION, _MAX_ROWS = 2**63 - 1, 2**16
_MULTIPLE = "as multiple input tensors required as per tensorinfo_map"
_STATUSES = {
    **{"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400, "UNAUTHENTICATED": 401},
    **{"PERMISSION_DENIED": 403, "NOT_FOUND": 404, "ALREADY_EXISTS": 409, "ABORTED": 409, "RESOURCE_EXHAUSTED": 429},
    **{"CANCELLED": 499, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504},
}


@dataclasses.dataclass(frozen=True)
class Answer:
    """An HTTP answer: status, body and content type."""

    status: int
    body: str
    content_type: str = "application/json"


def error_answer(error: ServingError) -> Answer:
    """Makes the answer {"error": MESSAGE} with the HTTP status that TF Serving uses for that code."""
    return Answer(_STATUSES.get(error.code.name, 500), json.dumps({"error": error.message}))


class RestApi:
    """Answers REST requests, and serves metrics for Prometheus at `metrics_path` unless it is empty."""

    def __init__(self, core: ServerCore, metrics_path: str = "") -> None:
        self.core, self._metrics_path = core, metrics_path

    def answer(self, method: str, path: str, body: bytes, call: Call) -> Answer:
        """Answers a request; `path` excludes the query. Raises: ServingError."""
        if method == "GET" and path == self._metrics_path:
            return Answer(200, self.core.metrics.page(), "text/plain")
        if not path.lower().startswith("/v1/"):
            return Answer(404, json.dumps({"error": f"Not found: {path}"}))
        route = {"POST": _INFER, "GET": _SHOW}.get(method)
        match = route.fullmatch(path) if route else None
        name, api = (unquote(match["model"] or ""), (match["method"] or "").lower()) if match else ("", "")
        with self.core.recorded(call, name, api, "REST"):
            if match is None:
                raise invalid_argument(f"Malformed request: {method} {path}")
            if api in ("classify", "regress"):
                raise unimplemented(f"{api.capitalize()} is not served here")
            spec = _model_spec(name, match["version"], match["label"])
            if api == "predict":
                return Answer(200, self._predict(spec, body, call))
            return Answer(200, json.dumps(self._metadata(spec) if api else self._status(spec), indent=1))

    def _predict(self, spec: model_pb2.ModelSpec, body: bytes, call: Call) -> str:
        document = parse_object(body, call)
        given = document.get("signature_name", "")
        if not isinstance(given, str):
            text = "not formatted correctly. 'signature_name' key must be a string value."
            raise invalid_argument(f"JSON Value: {quoted(document)} {text}")
        signatures, name = self.core.signatures(spec), given or DEFAULT_SIGNATURE
        if name not in signatures:
            raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
        spec.signature_name = given
        arrays, rows = _arrays(document, signatures[name].inputs, given), "instances" in document
        del document
        inputs = {alias: proto_of(array) for alias, array in arrays.items()}
        request = predict_pb2.PredictRequest(model_spec=spec, inputs=inputs)
        return _predict_body(self.core.predict(request, call).outputs, rows)

    def _status(self, spec: model_pb2.ModelSpec) -> Any:
        return _as_json(self.core.status(get_model_status_pb2.GetModelStatusRequest(model_spec=spec)))

    def _metadata(self, spec: model_pb2.ModelSpec) -> Any:
        request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=[METADATA_FIELD])
        answer = _as_json(self.core.metadata(request))
        del answer["metadata"][METADATA_FIELD]["@type"]  # TF Serving does not write it
        return answer


def _as_json(message: Any) -> Any:
    options = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
    return json_format.MessageToDict(message, **options)


def _model_spec(name: str, version: str | None, label: str | None) -> model_pb2.ModelSpec:
    if not name:
        raise invalid_argument("Missing model name in request.")
    spec = model_pb2.ModelSpec(name=name)
    if version is not None:
        if len(version) > 19 or int(version) > _MAX_VERSION:
            raise invalid_argument(f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(version)
    if label is not None:
        spec.version_label = unquote(label)
    return spec


def _is_named(element: Any) -> bool:
    return isinstance(element, dict) and not is_base64(element)


def _append(arrays: list[np.ndarray], array: np.ndarray) -> None:
    """Appends an instance's array. Raises: ServingError: INVALID_ARGUMENT if its shape is not that of the others."""
    if arrays and arrays[0].size != array.size:
        raise invalid_argument(f"Expecting tensor size: {arrays[0].size} but got: {array.size}")
    if arrays and arrays[0].shape != array.shape:
        before, now = (",".join(map(str, shape)) for shape in (arrays[0].shape, array.shape))
        raise invalid_argument(f"Expecting shape [{before}] but got: [{now}]")
    arrays.append(array)


def _rows(instances: list[Any], inputs: Inputs) -> dict[str, np.ndarray]:
    """Converts a list of instances to arrays by input name."""
    named = _is_named(instances[0])
    if len(inputs) > 1 and not isinstance(instances[0], dict):
        raise invalid_argument(f"instances is a plain list, but expecting list of objects {_MULTIPLE}")
    arrays: dict[str, list[np.ndarray]] = {name: [] for name in inputs}
    for number, element in enumerate(instances):
        if named != _is_named(element):
            expected, got = ("object", "list") if named else ("value/list", "object")
            raise invalid_argument(f"Expecting {expected} but got {got} at item {number} of input list")
        where = f"Failed to process element: {number}"
        for name, value in element.items() if named else ((next(iter(inputs)), element),):
            try:
                if name not in inputs:
                    raise invalid_argument(f"JSON object: does not have named input: {name}")
                _append(arrays[name], array_of_json(value, inputs[name].dtype))
            except ServingError as error:
                key = f" key: {name}" if named else ""
                raise invalid_argument(f"{where}{key} of 'instances' list. Error: {error}") from None
        if named and set(element) != set(inputs):
            keys = f"keys must be equal to: {','.join(sorted(inputs))}"
            raise invalid_argument(f"{where} of 'instances' list. JSON object: {quoted(element)} {keys}")
    return {name: np.stack(parts) for name, parts in arrays.items() if parts}


def _columns(value: Any, inputs: Inputs) -> dict[str, np.ndarray]:
    """Converts an object of whole tensors, or the tensor of the only input, to arrays by input name."""
    if not _is_named(value):
        if len(inputs) > 1:
            raise invalid_argument(f"inputs is a plain value/list, but expecting an object {_MULTIPLE}")
        value = {next(iter(inputs)): value}
    for name in sorted(inputs):
        if name not in value:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
    return {name: array_of_json(value[name], info.dtype) for name, info in inputs.items()}


def _arrays(document: Mapping[str, Any], inputs: Inputs, signature_name: str) -> dict[str, np.ndarray]:
    """Converts a request body in row form (`instances`) or column form (`inputs`) to arrays by input name."""
    if "instances" in document and "inputs" in document:
        text = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        raise invalid_argument(f"JSON Value: {quoted(document)} {text}")
    if "instances" not in document and "inputs" not in document:
        raise invalid_argument("Missing 'inputs' or 'instances' key")
    if not inputs:
        raise invalid_argument(f"Failed to get input map for signature: {signature_name or 'DEFAULT'}")
    if "inputs" in document:
        return _columns(document["inputs"], inputs)
    instances = document["instances"]
    if not isinstance(instances, list):
        raise invalid_argument(f"JSON Value: {quoted(document)} Expecting 'instances' to be an list/array")
    if not instances:
        raise invalid_argument(f"JSON Value: {quoted(document)} No values in 'instances' array")
    if len(instances) > _MAX_ROWS:
        raise resource_exhausted(f"{len(instances)} instances; at most {_MAX_ROWS} are accepted")
    return _rows(instances, inputs)


def _predict_body(outputs: Mapping[str, tensor_pb2.TensorProto], rows: bool) -> str:
    """Makes the body: `predictions` in row form, else `outputs`. Raises: ServingError: JSON cannot represent it."""
    arrays = {name: array_of(proto, name) for name, proto in sorted(outputs.items())}

    def to_json(row: int | None) -> str:
        texts = {
            name: json_of_array(array if row is None else np.asarray(array[row], array.dtype), name.endswith("_bytes"))
            for name, array in arrays.items()
        }
        if len(texts) == 1:
            return next(iter(texts.values()))
        return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in texts.items()) + "}"

    if not rows:
        return f'{{"outputs": {to_json(None)}}}'
    for name, array in arrays.items():
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
    sizes = {name: len(array) for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        raise invalid_argument(f"Tensors have inconsistent batch sizes: {sizes}")
    return f'{{"predictions": [{", ".join(to_json(row) for row in range(next(iter(sizes.values()), 0)))}]}}'
