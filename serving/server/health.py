"""grpc.health.v1.Health, Check only: whether the server, or one of its two services, takes requests."""

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2

from serving.server.errors import not_found
from serving.server.text_configs import message_classes
from serving.server.unary import unary_handler

_Field = descriptor_pb2.FieldDescriptorProto
_SERVICES = (
    "",
    *(f"{package}{name}" for package in ("", "tensorflow.serving.") for name in ("PredictionService", "ModelService")),
)
SERVING, NOT_SERVING = 1, 2
HEALTH_SERVICE = "grpc.health.v1.Health"

_CLASSES = message_classes(
    "ris_mvdr/health.proto",
    "grpc.health.v1",
    {
        "HealthCheckRequest": {"service": (1, _Field.TYPE_STRING, None, False)},
        # An enum on the wire is an int32: ServingStatus of health.proto.
        "HealthCheckResponse": {"status": (1, _Field.TYPE_INT32, None, False)},
    },
)
HealthCheckRequest, HealthCheckResponse = _CLASSES["HealthCheckRequest"], _CLASSES["HealthCheckResponse"]


def health_handler(serving: Callable[[], bool]) -> grpc.GenericRpcHandler:
    """The service's handler.

    Args:
      serving: whether requests are taken now.
    """

    def check(request: Any, context: grpc.ServicerContext) -> Any:
        if request.service not in _SERVICES:
            raise not_found(f"unknown service {request.service}")
        return HealthCheckResponse(status=SERVING if serving() else NOT_SERVING)

    return grpc.method_handlers_generic_handler(HEALTH_SERVICE, {"Check": unary_handler(HealthCheckRequest, check)})
