"""TF Serving's configuration files in protobuf text format.

tensorflow-serving-api contains the message for models. Those for batching, monitoring and SSL are defined here.
"""

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from serving.server.calls import invalid_argument
from serving.server.config import ModelServerConfig

_Field = descriptor_pb2.FieldDescriptorProto
_BOOL, _STRING = {"type": _Field.TYPE_BOOL}, {"type": _Field.TYPE_STRING}
_INT64S = {"type": _Field.TYPE_INT64, "label": _Field.LABEL_REPEATED}
_BOOL_VALUE, _INT64_VALUE, _STRING_VALUE = (
    {"type_name": f".google.protobuf.{kind}Value"} for kind in ("Bool", "Int64", "String")
)
_PACKAGE = "tensorflow.serving"

# Fields by message in the order of their field numbers, as in {session_bundle,monitoring,ssl}_config.proto.
_MESSAGES: dict[str, dict[str, dict[str, Any]]] = {
    "BatchingParameters": {
        "max_batch_size": _INT64_VALUE,
        "batch_timeout_micros": _INT64_VALUE,
        "max_enqueued_batches": _INT64_VALUE,
        "num_batch_threads": _INT64_VALUE,
        "thread_pool_name": _STRING_VALUE,
        "allowed_batch_sizes": _INT64S,
        "pad_variable_length_inputs": _BOOL,
        "enable_large_batch_splitting": _BOOL_VALUE,
        "max_execution_batch_size": _INT64_VALUE,
    },
    "PrometheusConfig": {"enable": _BOOL, "path": _STRING},
    "MonitoringConfig": {"prometheus_config": {"type_name": f".{_PACKAGE}.PrometheusConfig"}},
    "SSLConfig": {"server_key": _STRING, "server_cert": _STRING, "custom_ca": _STRING, "client_verify": _BOOL},
}


def _message_classes() -> dict[str, Any]:
    """Returns the classes of `_MESSAGES` by full name, from a separate descriptor pool."""
    wrappers, pool = wrappers_pb2.DESCRIPTOR, descriptor_pool.DescriptorPool()
    proto = descriptor_pb2.FileDescriptorProto(name="ris_mvdr/text_configs.proto", package=_PACKAGE, syntax="proto3")
    proto.dependency.append(wrappers.name)
    for name, fields in _MESSAGES.items():
        message = proto.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            message.field.add(name=field, number=number, **{"label": _Field.LABEL_OPTIONAL, **kind})
    pool.AddSerializedFile(wrappers.serialized_pb)
    pool.Add(proto)
    return message_factory.GetMessageClassesForFiles([proto.name], pool)


_CLASSES = {ModelServerConfig.DESCRIPTOR.full_name: ModelServerConfig, **_message_classes()}


def read_text_proto(path: Path, message: str) -> Any:
    """Reads a ModelServerConfig, BatchingParameters, MonitoringConfig or SSLConfig from a text-format file.

    Raises: ServingError, one line with file, line and column, if the file is unreadable or invalid.
    """
    name = f"{_PACKAGE}.{message}"
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), _CLASSES[name]())
    except (OSError, UnicodeDecodeError) as error:
        raise invalid_argument(f"{path}: expected a text file of {name}: {error}") from None
    except text_format.ParseError as error:
        line = " ".join(str(error).split())
        raise invalid_argument(f"Error parsing text-format {name}: {path}:{line}") from None
