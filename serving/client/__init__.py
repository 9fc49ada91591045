"""Client of a model server. `python -m serving.client` is its command line.

Needs grpcio, numpy and protobuf, and tqdm for the command line; no TensorFlow. Names are imported on first use, so
that `serving.client.files` alone imports nothing heavy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.client.connection import RetryConfig, ServerError, TlsConfig
    from serving.client.localizer_client import Answer, LocalizerClient
    from serving.client.measurement import Measurement, MeasurementWarning, read_measurement
    from serving.client.measurement_file import MeasurementFile
    from serving.client.scene import Place, Scene, Source, Truth
    from serving.client.sources import scenes_of

_NAMES = {
    "connection": ("RetryConfig", "ServerError", "TlsConfig"),
    "localizer_client": ("Answer", "LocalizerClient"),
    "measurement": ("Measurement", "MeasurementWarning", "read_measurement"),
    "measurement_file": ("MeasurementFile",),
    "scene": ("Place", "Scene", "Source", "Truth"),
    "sources": ("scenes_of",),
}
__all__ = ["Answer", "LocalizerClient", "Measurement", "MeasurementFile", "MeasurementWarning", "Place", "RetryConfig"]
__all__ += ["Scene", "ServerError", "Source", "TlsConfig", "Truth", "read_measurement", "scenes_of"]


def __getattr__(name: str) -> Any:
    for module, names in _NAMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
