"""The golden signature: the names, dtypes and shapes that clients rely on (docs/serving.md)."""

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2

from pipeline.release.versions import read_meta_graph

Spec = tuple[str, tuple[str, ...]]
"""dtype and axes: B scenes, L snapshots, M antennas, N elements, K slots; digits are fixed sizes."""

_SNR: Spec = ("float32", ("B",))
_OF_SLOTS: Spec = ("float32", ("B", "K"))
_COMPLEX: dict[str, Spec] = {
    "snapshots": ("complex64", ("B", "L", "M")),
    "ris_codes": ("complex64", ("B", "L", "N")),
    "channel": ("complex64", ("B", "M", "N")),
    "snr_db": _SNR,
}
_REAL: dict[str, Spec] = {name: ("float32", (*axes, "2")) for name, (_, axes) in _COMPLEX.items()} | {"snr_db": _SNR}
_SOURCES: dict[str, Spec] = {
    "num_sources": ("int32", ("B",)),
    "num_paths": ("int32", ("B", "K")),
    **dict.fromkeys(("azimuth_deg", "elevation_deg", "range_m", "power_db", "score"), _OF_SLOTS),
    "position_m": ("float32", ("B", "K", "3")),
    "position_cov_m2": ("float32", ("B", "K", "3", "3")),
}
GOLDEN: dict[str, tuple[dict[str, Spec], dict[str, Spec]]] = {
    "serving_default": (_COMPLEX, _SOURCES),
    "localize_real": (_REAL, _SOURCES),
    "covariance": (_COMPLEX, {"covariance": ("complex64", ("B", "N", "N"))}),
}
"""Inputs and outputs of each signature."""

OPTIONAL_OUTPUTS = ("refined",)
"""Outputs that only models with a refiner have."""


def signature_faults(version: Path) -> list[str]:
    """Lists the differences between the signatures of a SavedModel and the golden ones; empty if there are none."""
    try:
        found = read_meta_graph(version).signature_def
    except DecodeError:
        return ["saved_model.pb: expected the graph of a model, got a damaged file"]
    sizes: dict[str, int] = {}
    faults = []
    for name, (inputs, outputs) in GOLDEN.items():
        if name not in found:
            faults.append(f"signature {name}: expected one, got none")
            continue
        faults += _faults(f"{name}, input", inputs, found[name].inputs, sizes)
        given = {key: info for key, info in found[name].outputs.items() if key not in OPTIONAL_OUTPUTS}
        faults += _faults(f"{name}, output", outputs, given, sizes)
    return faults


def _faults(
    where: str, golden: Mapping[str, Spec], given: Mapping[str, meta_graph_pb2.TensorInfo], sizes: dict[str, int]
) -> list[str]:
    if set(golden) != set(given):
        return [f"{where}s: expected {', '.join(sorted(golden))}, got {', '.join(sorted(given))}"]
    return [
        f"{where} {name}: expected {spec[0]} [{', '.join(spec[1])}], got {_shown(given[name])}"
        for name, spec in golden.items()
        if not _fits(spec, given[name], sizes)
    ]


def _shown(info: meta_graph_pb2.TensorInfo) -> str:
    axes = "any shape" if info.tensor_shape.unknown_rank else str([axis.size for axis in info.tensor_shape.dim])
    return f"{tf.as_dtype(info.dtype).name} {axes}"


def _fits(spec: Spec, info: meta_graph_pb2.TensorInfo, sizes: dict[str, int]) -> bool:
    """Whether a tensor fits. Batch and snapshots have any size; every other letter has one size in all tensors."""
    dtype, axes = spec
    if tf.as_dtype(info.dtype).name != dtype or len(info.tensor_shape.dim) != len(axes):
        return False
    for axis, dim in zip(axes, info.tensor_shape.dim, strict=True):
        fixed = -1 if axis in "BL" else int(axis) if axis.isdecimal() else None
        if dim.size != (sizes.setdefault(axis, dim.size) if fixed is None else fixed):
            return False
    return True
