"""Routes of TF Serving's REST API: from method, path and body to status and body."""

import dataclasses
import json
import re
from collections.abc import Callable
from urllib.parse import unquote

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server.core import METADATA_FIELD, ServerCore
from serving.server.errors import ServingError, as_serving_error, invalid_argument
from serving.server.inference import DEFAULT_SIGNATURE
from serving.server.json_tensors import parse_object
from serving.server.rest_messages import (
    classify_body,
    fill_examples,
    fill_predict,
    metadata_body,
    predict_body,
    regress_body,
    signature_name,
    status_body,
)

_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_INFER = re.compile(rf"/v1/models/(?P<model>[^/:]+){_VERSION}:(?P<method>classify|regress|predict)", re.I | re.ASCII)
_SHOW = re.compile(rf"/v1/models(?:/(?P<model>[^/:]+))?{_VERSION}(?:/(?P<method>metadata))?", re.I | re.ASCII)
_MAX_VERSION = 2**63 - 1
_HTTP = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What goes back: HTTP status, body and its type."""

    status: int
    body: str
    content_type: str = "application/json"


def error_answer(error: ServingError) -> Answer:
    """{"error": MESSAGE} under the HTTP status TF Serving gives it."""
    return Answer(_HTTP.get(error.code, 500), json.dumps({"error": error.message}))


class RestApi:
    """Answers REST requests.

    Args:
      core: what answers them.
      metrics_path: where Prometheus reads; empty for nowhere.
    """

    def __init__(self, core: ServerCore, metrics_path: str = "") -> None:
        self._core, self._metrics_path = core, metrics_path

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """The answer to a request.

        Args:
          method: GET, POST or another.
          path: without the query.
          body: all of it.
        """
        if method == "GET" and path == self._metrics_path:
            return Answer(200, self._core.metrics.page(), "text/plain")
        if not path.lower().startswith("/v1/"):
            return Answer(404, json.dumps({"error": f"Not found: {path}"}))
        route = {"POST": _INFER, "GET": _SHOW}.get(method)
        match = route.fullmatch(path) if route else None
        name = unquote(match["model"] or "") if match else ""
        api = (match["method"] or "").lower() if match else ""
        try:
            with self._core.recorded(name, api, "REST"):
                if match is None:
                    raise invalid_argument(f"Malformed request: {method} {path}")
                return Answer(200, self._route(api, name, match["version"], match["label"], body))
        except Exception as error:  # a request must not take the server down, whatever it triggers
            return error_answer(as_serving_error(error))

    def _route(self, api: str, name: str, version: str | None, label: str | None, body: bytes) -> str:
        if not name:
            raise invalid_argument("Missing model name in request.")
        spec = model_pb2.ModelSpec(name=name)
        if version is not None:
            if int(version) > _MAX_VERSION:
                raise invalid_argument(f"Failed to convert version: {version} to numeric.")
            spec.version.value = int(version)
        if label is not None:
            spec.version_label = unquote(label)
        routes: dict[str, Callable[[model_pb2.ModelSpec, bytes], str]] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
            "metadata": self._metadata,
        }
        return routes.get(api, self._status)(spec, body)

    def _predict(self, spec: model_pb2.ModelSpec, body: bytes) -> str:
        document = parse_object(body)
        spec.signature_name = signature_name(document)
        signatures, name = self._core.signatures(spec), spec.signature_name or DEFAULT_SIGNATURE
        if name not in signatures:
            raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
        request = predict_pb2.PredictRequest(model_spec=spec)
        rows = fill_predict(request, document, signatures[name].inputs)
        return predict_body(self._core.predict(request).outputs, rows)

    def _classify(self, spec: model_pb2.ModelSpec, body: bytes) -> str:
        document = parse_object(body)
        spec.signature_name = signature_name(document)
        request = classification_pb2.ClassificationRequest(model_spec=spec)
        fill_examples(request.input, document)
        return classify_body(self._core.classify(request).result)

    def _regress(self, spec: model_pb2.ModelSpec, body: bytes) -> str:
        document = parse_object(body)
        spec.signature_name = signature_name(document)
        request = regression_pb2.RegressionRequest(model_spec=spec)
        fill_examples(request.input, document)
        return regress_body(self._core.regress(request).result)

    def _status(self, spec: model_pb2.ModelSpec, body: bytes) -> str:
        return status_body(self._core.status(get_model_status_pb2.GetModelStatusRequest(model_spec=spec)))

    def _metadata(self, spec: model_pb2.ModelSpec, body: bytes) -> str:
        request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=[METADATA_FIELD])
        return metadata_body(self._core.metadata(request))
