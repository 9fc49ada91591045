"""PredictionService and ModelService on one model's versions."""

import functools

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.errors import ServingError, invalid_argument
from serving.servable import DEFAULT_SIGNATURE
from serving.versions import ModelVersions

_METADATA_FIELD = "signature_def"


def _answering(method):
    """Turns a ServingError into the call's status."""

    @functools.wraps(method)
    def call(self, request, context):
        try:
            return method(self, request)
        except ServingError as error:
            return context.abort(error.code, error.message)

    return call


def _version(spec: model_pb2.ModelSpec) -> int | None:
    return spec.version.value if spec.HasField("version") else None


def _resolved(spec: model_pb2.ModelSpec, version: int, signature_name: str = "") -> model_pb2.ModelSpec:
    resolved = model_pb2.ModelSpec(name=spec.name, signature_name=signature_name)
    resolved.version.value = version
    return resolved


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the other calls answer UNIMPLEMENTED."""

    def __init__(self, versions: ModelVersions) -> None:
        self.versions = versions

    @_answering
    def Predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        spec = request.model_spec
        with self.versions.use(spec.name, _version(spec), spec.version_label) as servable:
            outputs = servable.predict(spec.signature_name, request.inputs, request.output_filter)
            signature_name = spec.signature_name or DEFAULT_SIGNATURE
            response = predict_pb2.PredictResponse(model_spec=_resolved(spec, servable.version, signature_name))
        for alias, value in outputs.items():
            response.outputs[alias].CopyFrom(tf.make_tensor_proto(value))
        return response

    @_answering
    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _METADATA_FIELD:
                raise invalid_argument(f"Metadata field {field} is not supported")
        spec = request.model_spec
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self.versions.use(spec.name, _version(spec), spec.version_label) as servable:
            for name, signature in servable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
            response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=_resolved(spec, servable.version))
        response.metadata[_METADATA_FIELD].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus."""

    def __init__(self, versions: ModelVersions) -> None:
        self.versions = versions

    @_answering
    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        name, wanted = request.model_spec.name, _version(request.model_spec)
        statuses = dict(self.versions.statuses) if name == self.versions.name else {}
        if not statuses:
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {name}")
        if wanted is not None and wanted not in statuses:
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"Could not find version {wanted} of model {name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for version in sorted(statuses, reverse=True):
            if wanted in (None, version):
                entry = response.model_version_status.add(version=version, state=int(statuses[version].state))
                entry.status.error_code = grpc.StatusCode.UNKNOWN.value[0] if statuses[version].error else 0
                entry.status.error_message = statuses[version].error
        return response
