"""MVDR spectra of an evaluation's first scenes on disk, for pictures."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.metrics.estimators import Estimator
from pipeline.metrics.matching import require_arrays
from pipeline.metrics.predictions import load_arrays, save_arrays

SPECTRA_FILE = "spectra.npz"
_AXES = ("azimuth_deg", "elevation_deg", "range_m")


@dataclasses.dataclass(frozen=True, eq=False)
class Spectra:
    """Of the first B scenes of an evaluation.

    spectrum_db: [B, azimuth, elevation, range] float16, dB above the lowest point of its scene.
    azimuth_deg, elevation_deg, range_m: the grid's axes, ranges falling or rising.
    """

    spectrum_db: np.ndarray
    azimuth_deg: np.ndarray
    elevation_deg: np.ndarray
    range_m: np.ndarray


def spectra_of(estimator: Estimator, scenes: Mapping[str, Any]) -> Spectra:
    """The spectra of a batch.

    Args:
      estimator: the signature "spectrum" of an exported model.
      scenes: a batch.
    """
    given = {name: np.asarray(value) for name, value in estimator(scenes).items()}
    height = given["spectrum"] / given["spectrum"].min(axis=(1, 2, 3), keepdims=True)
    return Spectra((10.0 * np.log10(height)).astype(np.float16), *(given[axis][0] for axis in _AXES))


def save_spectra(path: Path, spectra: Spectra) -> None:
    """Writes an npz, an array a field."""
    save_arrays(path, {field.name: getattr(spectra, field.name) for field in dataclasses.fields(spectra)})


def load_spectra(path: Path) -> Spectra:
    """Reads what `save_spectra` wrote.

    Raises:
      ValueError: no such file, or not one of these.
    """
    arrays = load_arrays(path)
    names = ("spectrum_db", *_AXES)
    require_arrays(str(path), arrays, names)
    return Spectra(*(arrays[name] for name in names))
