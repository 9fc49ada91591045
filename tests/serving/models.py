"""A small SavedModel with a signature of every kind: y = x / 2 + its version, after TF Serving's half_plus_two."""

import os
import shutil
from pathlib import Path

import tensorflow as tf

from tests.rigs.soak import model as soak

M = "half_plus"


def _vector(dtype: tf.DType, name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None], dtype, name)


class HalfPlus(soak.HalfPlus):
    """The model of the soak tests with further signatures. Args: offset: the constant it adds, usually the version."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "x")])
    def total(self, x):
        return {"total": tf.reduce_sum(x, axis=1), "size": tf.fill([tf.shape(x)[0]], tf.shape(x)[0])}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "x")])
    def scalar(self, x):
        return {"total": tf.reduce_sum(x)}

    @tf.function(input_signature=[_vector(tf.string, "text_bytes"), _vector(tf.int64, "count"),
                                  _vector(tf.bool, "flag"), _vector(tf.float64, "real")])  # fmt: skip
    def echo(self, text_bytes, count, flag, real):
        return {"text_bytes": text_bytes, "count": count, "flag": flag, "real": real, "text": text_bytes}

    @tf.function(input_signature=[_vector(tf.complex64, "z")])
    def conjugate(self, z):
        return {"z": tf.math.conj(z)}


def signatures_of(model: HalfPlus) -> dict[str, object]:
    names = ("add", "total", "scalar", "slow", "echo", "conjugate")
    return {"serving_default": model.predict, **{name: getattr(model, name) for name in names}}


def write_version(base_path: Path, version: int, offset: float | None = None) -> Path:
    """Saves a version under another name and renames it."""
    model = HalfPlus(float(version) if offset is None else offset)
    staging = base_path / f"staging-{version}"
    tf.saved_model.save(model, str(staging), signatures=signatures_of(model))
    os.rename(staging, base_path / str(version))
    return base_path / str(version)


def copy_version(base_path: Path, source: int, target: int | str) -> Path:
    """Copies a version, which is faster than saving a new one."""
    staging = base_path / "staging-copy"
    shutil.copytree(base_path / str(source), staging)
    os.rename(staging, base_path / str(target))
    return base_path / str(target)
