"""Text-format files of TF Serving: model configuration from its package, and batching, monitoring and SSL, whose
messages the package does not carry and which are described here."""

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from serving.server.calls import invalid_argument
from serving.server.config import ModelServerConfig

_Field = descriptor_pb2.FieldDescriptorProto
_BOOL, _STRING, _INT64, _MESSAGE = _Field.TYPE_BOOL, _Field.TYPE_STRING, _Field.TYPE_INT64, _Field.TYPE_MESSAGE
_PACKAGE = "tensorflow.serving"

# message: {field: (number, type, name of a message or None, repeated)}, as in session_bundle_config.proto,
# monitoring_config.proto and ssl_config.proto
_MESSAGES: dict[str, dict[str, tuple[int, Any, str | None, bool]]] = {
    "BatchingParameters": {
        "max_batch_size": (1, _MESSAGE, ".google.protobuf.Int64Value", False),
        "batch_timeout_micros": (2, _MESSAGE, ".google.protobuf.Int64Value", False),
        "max_enqueued_batches": (3, _MESSAGE, ".google.protobuf.Int64Value", False),
        "num_batch_threads": (4, _MESSAGE, ".google.protobuf.Int64Value", False),
        "thread_pool_name": (5, _MESSAGE, ".google.protobuf.StringValue", False),
        "allowed_batch_sizes": (6, _INT64, None, True),
        "pad_variable_length_inputs": (7, _BOOL, None, False),
        "enable_large_batch_splitting": (8, _MESSAGE, ".google.protobuf.BoolValue", False),
        "max_execution_batch_size": (9, _MESSAGE, ".google.protobuf.Int64Value", False),
    },
    "PrometheusConfig": {"enable": (1, _BOOL, None, False), "path": (2, _STRING, None, False)},
    "MonitoringConfig": {"prometheus_config": (1, _MESSAGE, f".{_PACKAGE}.PrometheusConfig", False)},
    "SSLConfig": {
        "server_key": (1, _STRING, None, False),
        "server_cert": (2, _STRING, None, False),
        "custom_ca": (3, _STRING, None, False),
        "client_verify": (4, _BOOL, None, False),
    },
}


def _message_classes() -> dict[str, Any]:
    """Classes of `_MESSAGES` by name, in a pool of their own."""
    wrappers, pool = wrappers_pb2.DESCRIPTOR, descriptor_pool.DescriptorPool()
    proto = descriptor_pb2.FileDescriptorProto(name="ris_mvdr/text_configs.proto", package=_PACKAGE, syntax="proto3")
    proto.dependency.append(wrappers.name)
    for name, fields in _MESSAGES.items():
        message = proto.message_type.add(name=name)
        for field, (number, kind, type_name, repeated) in fields.items():
            label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            message.field.add(name=field, number=number, type=kind, label=label, type_name=type_name)
    pool.AddSerializedFile(wrappers.serialized_pb)
    pool.Add(proto)
    names = {name: pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in _MESSAGES}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in names.items()}


_CLASSES = {"ModelServerConfig": ModelServerConfig, **_message_classes()}


def read_text_proto(path: Path, message: str) -> Any:
    """The ModelServerConfig, BatchingParameters, MonitoringConfig or SSLConfig in a text-format file.

    Raises: ServingError: INVALID_ARGUMENT; the file can't be read or holds something else; one line, with its place.
    """
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), _CLASSES[message]())
    except (OSError, UnicodeDecodeError) as error:
        raise invalid_argument(f"{path}: expected a text file of {_PACKAGE}.{message}: {error}") from None
    except text_format.ParseError as error:
        line = " ".join(str(error).split())
        raise invalid_argument(f"Error parsing text-format {_PACKAGE}.{message}: {path}:{line}") from None
