"""Predict, GetModelMetadata, GetModelStatus and HandleReloadConfigRequest, for gRPC and REST alike."""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import numpy as np
from tensorflow_serving.apis import get_model_metadata_pb2 as metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2 as status_pb2
from tensorflow_serving.apis import model_management_pb2 as reload_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from serving.server.calls import NO_DEADLINE, Call, ServingError, as_serving_error, invalid_argument, not_found
from serving.server.manager import ModelManager
from serving.server.metrics import Metrics
from serving.server.servable import Feeds, Signatures, run_predict

METADATA_FIELD = "signature_def"

_CODES = {TimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED, asyncio.CancelledError: grpc.StatusCode.CANCELLED}
_log = logging.getLogger(__name__)


def _named_spec(request: Any) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    return request.model_spec


class ServerCore:
    """Answers requests. On failure every method raises ServingError with TF Serving's code and message."""

    def __init__(self, manager: ModelManager, metrics: Metrics) -> None:
        self.manager, self.metrics = manager, metrics

    @contextlib.contextmanager
    def counted(self, call: Call) -> Iterator[None]:
        """Counts a call under the status with which the block ends, whatever its worker thread does afterwards."""
        try:
            yield
        except (ServingError, TimeoutError, asyncio.CancelledError) as error:
            code = error.code if isinstance(error, ServingError) else _CODES[type(error)]
            self.metrics.request_count.add(call.model or "", code.name)
            raise
        if call.model is not None:  # None for a request for the metrics page
            self.metrics.request_count.add(call.model, grpc.StatusCode.OK.name)

    @contextlib.contextmanager
    def recorded(self, call: Call, name: str, api: str, entrypoint: str) -> Iterator[None]:
        """Measures a call's latency and converts its errors; unexpected exceptions are INTERNAL and are logged.

        Unknown model names are recorded as "": otherwise clients could fill the memory with labels.
        """
        call.model = name if self.manager.serves(name) else ""
        started = time.perf_counter()
        try:
            yield
        except Exception as raised:
            error = as_serving_error(raised)
            if error.code == grpc.StatusCode.INTERNAL:
                _log.exception("%s for %s failed", api or "request", call.model or "no model")
            raise error from None
        self.metrics.request_latency.add(1e6 * (time.perf_counter() - started), call.model, api, entrypoint)

    def predict(self, request: predict_pb2.PredictRequest, call: Call) -> predict_pb2.PredictResponse:
        """Runs a signature of a model."""
        spec = _named_spec(request)
        with self.manager.use(spec) as loaded:

            def run(feeds: Feeds, fetches: Sequence[str], call: Call) -> list[np.ndarray]:
                started = time.perf_counter()
                values = loaded.run(feeds, fetches, call)
                self.metrics.runtime_latency.add(1e6 * (time.perf_counter() - started), spec.name, "Predict", "TF1")
                return values

            return run_predict(dataclasses.replace(loaded, run=run), request, call)

    def signatures(self, spec: model_pb2.ModelSpec) -> Signatures:
        """Returns the signatures of the version that `spec` names."""
        with self.manager.use(spec) as loaded:
            return loaded.signatures

    def metadata(self, request: Any, _: Call = NO_DEADLINE) -> metadata_pb2.GetModelMetadataResponse:
        """Answers a GetModelMetadataRequest; the only field is `signature_def`."""
        spec = _named_spec(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != METADATA_FIELD:
                raise invalid_argument(f"Metadata field {field} is not supported")
        with self.manager.use(spec) as loaded:
            signatures = metadata_pb2.SignatureDefMap(signature_def=dict(loaded.signatures))
            resolved = {"name": spec.name, "version": {"value": loaded.version}}
        response = metadata_pb2.GetModelMetadataResponse(model_spec=resolved)
        response.metadata[METADATA_FIELD].Pack(signatures)
        return response

    def status(self, request: Any, _: Call = NO_DEADLINE) -> status_pb2.GetModelStatusResponse:
        """Answers a GetModelStatusRequest with the state of one version or of all."""
        spec = _named_spec(request)
        statuses = self.manager.statuses(spec.name)
        if spec.HasField("version"):
            number = spec.version.value
            if number not in statuses:
                raise not_found(f"Could not find version {number} of model {spec.name}")
            statuses = {number: statuses[number]}
        if not statuses:
            raise not_found(f"Could not find any versions of model {spec.name}")
        response = status_pb2.GetModelStatusResponse()
        for number, version in sorted(statuses.items(), reverse=True):
            error = version.error
            status = {"error_code": error.code.value[0], "error_message": error.message} if error else {}
            response.model_version_status.add(version=number, state=int(version.state), status=status)
        return response

    def reload(self, request: reload_pb2.ReloadConfigRequest, call: Call) -> reload_pb2.ReloadConfigResponse:
        """Applies a new configuration; see `ModelManager.reload`."""
        if request.config.WhichOneof("config") != "model_config_list":
            supported = "Only ModelConfigList is currently supported"
            raise invalid_argument(f"ServerModelConfig type not supported by HandleReloadConfigRequest. {supported}")
        self.manager.reload(request.config, call)
        return reload_pb2.ReloadConfigResponse(status={})
