"""TF Serving's calls on the models of a server: what gRPC and REST share."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import grpc
import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server.errors import ServingError, invalid_argument, not_found
from serving.server.inference import (
    Signatures,
    resolved_spec,
    run_classify,
    run_multi_inference,
    run_predict,
    run_regress,
)
from serving.server.manager import ModelManager
from serving.server.metrics import Metrics
from serving.server.servable import Run

METADATA_FIELD = "signature_def"

Request = TypeVar("Request")
Response = TypeVar("Response")
_Infer = Callable[[Signatures, int, Run, Request], Response]


def _microseconds(since: float) -> float:
    return 1e6 * (time.perf_counter() - since)


class ServerCore:
    """Answers requests.

    Args:
      manager: the models.
      metrics: what is counted.

    Every method raises ServingError with TF Serving's code and message.
    """

    def __init__(self, manager: ModelManager, metrics: Metrics) -> None:
        self.manager, self.metrics = manager, metrics

    @contextlib.contextmanager
    def recorded(self, name: str, api: str, entrypoint: str) -> Iterator[None]:
        """Counts a request and its time. A name no model has is counted without it, lest strangers fill the memory."""
        model = name if self.manager.serves(name) else ""
        started = time.perf_counter()
        try:
            yield
        except ServingError as error:
            self.metrics.request_count.add(model, error.code.name)
            raise
        self.metrics.request_latency.add(_microseconds(started), model, api, entrypoint)
        self.metrics.request_count.add(model, grpc.StatusCode.OK.name)

    def _infer(
        self, api: str, infer: "_Infer[Request, Response]", spec: model_pb2.ModelSpec, request: Request
    ) -> Response:
        with self.manager.use(spec) as loaded:

            def run(feeds: Mapping[str, np.ndarray], fetches: Sequence[str]) -> list[np.ndarray]:
                started = time.perf_counter()
                values = loaded.run(feeds, fetches)
                self.metrics.runtime_latency.add(_microseconds(started), spec.name, api, "TF1")
                return values

            return infer(loaded.signatures, loaded.version, run, request)

    @staticmethod
    def _checked(request: Request) -> Request:
        if not request.HasField("model_spec"):  # type: ignore[attr-defined]
            raise invalid_argument("Missing ModelSpec")
        return request

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        return self._infer("Predict", run_predict, self._checked(request).model_spec, request)

    def classify(self, request: classification_pb2.ClassificationRequest) -> classification_pb2.ClassificationResponse:
        return self._infer("Classify", run_classify, self._checked(request).model_spec, request)

    def regress(self, request: regression_pb2.RegressionRequest) -> regression_pb2.RegressionResponse:
        return self._infer("Regress", run_regress, self._checked(request).model_spec, request)

    def multi_inference(self, request: inference_pb2.MultiInferenceRequest) -> inference_pb2.MultiInferenceResponse:
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        return self._infer("MultiInference", run_multi_inference, spec, request)

    def signatures(self, spec: model_pb2.ModelSpec) -> Signatures:
        """Signatures of the version a request asks for."""
        with self.manager.use(spec) as loaded:
            return loaded.signatures

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        self._checked(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != METADATA_FIELD:
                raise invalid_argument(f"Metadata field {field} is not supported")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self.manager.use(request.model_spec) as loaded:
            for name, signature in loaded.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
            spec = resolved_spec(request.model_spec.name, loaded.version)
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=spec)
        response.metadata[METADATA_FIELD].Pack(signatures)
        return response

    def status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        spec = self._checked(request).model_spec
        statuses = self.manager.statuses(spec.name)
        if spec.HasField("version"):
            number = spec.version.value
            if number not in statuses:
                raise not_found(f"Could not find version {number} of model {spec.name}")
            statuses = {number: statuses[number]}
        if not statuses:
            raise not_found(f"Could not find any versions of model {spec.name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, status in sorted(statuses.items(), reverse=True):
            entry = response.model_version_status.add(version=number, state=int(status.state))
            entry.status.error_code = status.error.code.value[0] if status.error else 0
            entry.status.error_message = status.error.message if status.error else ""
        return response

    def reload(
        self, request: model_management_pb2.ReloadConfigRequest, give_up: Callable[[], bool]
    ) -> model_management_pb2.ReloadConfigResponse:
        """Applies a configuration; see `ModelManager.reload`."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        before = {name: self.metrics.value(name) for name in request.metric_names}
        self.manager.reload(request.config, give_up)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        for name, value in before.items():
            response.metric.add(name=name, int64_value_increase=self.metrics.value(name) - value)
        return response
