"""Stores the MVDR spectra of the first scenes of an evaluation, for figures."""

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
    """MVDR spectra of the first B scenes of an evaluation: dB above the minimum of the scene, float16.

    spectrum_db is [B, azimuth, elevation, range]; the others are the axes of the grid. Ranges rise or fall.
    """

    spectrum_db: np.ndarray
    azimuth_deg: np.ndarray
    elevation_deg: np.ndarray
    range_m: np.ndarray


def spectra_of(estimator: Estimator, scenes: Mapping[str, Any]) -> Spectra:
    """The spectra of a batch of scenes; the estimator is signature "spectrum" of an exported model."""
    given = {name: np.asarray(value) for name, value in estimator(scenes).items()}
    height = given["spectrum"] / given["spectrum"].min(axis=(1, 2, 3), keepdims=True)
    return Spectra((10.0 * np.log10(height)).astype(np.float16), *(given[axis][0] for axis in _AXES))


def save_spectra(path: Path, spectra: Spectra) -> None:
    """Writes an npz file with one array for each field."""
    save_arrays(path, vars(spectra))


def load_spectra(path: Path) -> Spectra:
    """Reads a file of `save_spectra`."""
    arrays = load_arrays(path)
    names = ("spectrum_db", *_AXES)
    require_arrays(str(path), arrays, names)
    return Spectra(*(arrays[name] for name in names))
