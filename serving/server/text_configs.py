"""TF Serving's configuration files in protobuf text format.

tensorflow-serving-api contains the message for models. Those for batching, monitoring and SSL are defined here.
"""

from pathlib import Path
from typing import Any

from google.protobuf import text_format, wrappers_pb2

from serving.client.messages import PACKAGE, message_classes
from serving.server.calls import invalid_argument
from serving.server.config import ModelServerConfig

_INT64 = "google.protobuf.Int64Value"
# {message: {field: (number, type)}}, as in {session_bundle,monitoring,ssl}_config.proto.
_CLASSES = message_classes(
    {
        "BatchingParameters": {
            "max_batch_size": (1, _INT64),
            "batch_timeout_micros": (2, _INT64),
            "max_enqueued_batches": (3, _INT64),
            "num_batch_threads": (4, _INT64),
            "thread_pool_name": (5, "google.protobuf.StringValue"),
            "allowed_batch_sizes": (6, "repeated int64"),
            "pad_variable_length_inputs": (7, "bool"),
            "enable_large_batch_splitting": (8, "google.protobuf.BoolValue"),
            "max_execution_batch_size": (9, _INT64),
        },
        "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
        "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig")},
        "SSLConfig": {
            **{"server_key": (1, "string"), "server_cert": (2, "string")},
            **{"custom_ca": (3, "string"), "client_verify": (4, "bool")},
        },
    },
    wrappers_pb2.DESCRIPTOR,
) | {"ModelServerConfig": ModelServerConfig}


def read_text_proto(path: Path, message: str) -> Any:
    """Reads a ModelServerConfig, BatchingParameters, MonitoringConfig or SSLConfig from a text-format file.

    Raises: ServingError, one line with file, line and column, if the file is unreadable or invalid.
    """
    name = f"{PACKAGE}.{message}"
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), _CLASSES[message]())
    except (OSError, UnicodeDecodeError) as error:
        raise invalid_argument(f"{path}: expected a text file of {name}: {error}") from None
    except text_format.ParseError as error:
        line = " ".join(str(error).split())
        raise invalid_argument(f"Error parsing text-format {name}: {path}:{line}") from None
