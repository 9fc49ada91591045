"""What a user imports to ask a model server for sources; `python -m serving.client` does so for files.

Needs grpcio, numpy and protobuf, and the command line tqdm: no TensorFlow. Names are imported when they are first
asked for, so that `serving.client.files` costs a stage of the pipeline nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.client.connection import RetryConfig, ServerError, TlsConfig
    from serving.client.localizer_client import Answer, LocalizerClient
    from serving.client.measurement import Measurement, read_measurement
    from serving.client.measurement_file import MeasurementFile
    from serving.client.sources import Scene, Source, scenes_of

_HOMES = {
    **dict.fromkeys(("RetryConfig", "ServerError", "TlsConfig"), "connection"),
    **dict.fromkeys(("Answer", "LocalizerClient"), "localizer_client"),
    **dict.fromkeys(("Measurement", "read_measurement"), "measurement"),
    "MeasurementFile": "measurement_file",
    **dict.fromkeys(("Scene", "Source", "scenes_of"), "sources"),
}

__all__ = [
    "Answer",
    "LocalizerClient",
    "Measurement",
    "MeasurementFile",
    "RetryConfig",
    "Scene",
    "ServerError",
    "Source",
    "TlsConfig",
    "read_measurement",
    "scenes_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
