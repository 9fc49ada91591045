"""Names of suites and estimators. The options import them without importing TensorFlow."""

from typing import Literal, get_args

SuiteName = Literal[
    "snr",
    "sources",
    "range",
    "azimuth",
    "separation",
    "snapshots",
    "codebook",
    "channel_error",
    "dead_elements",
    "phase_errors",
    "rician",
    "channel_rank",
    "worlds",
    "installations",
    "modified_music",
]
EstimatorName = Literal[
    "ours",
    "ours_fast",
    "ours_thorough",
    "untrained",
    "sequential_ml",
    "back_projection",
    "oracle",
    "mvdr_sample",
    "polar_omp",
    "sbl",
    "modified_music",
    "chance",
    "sequential_ml_known",
    "back_projection_known",
    "mvdr_sample_known",
    "polar_omp_known",
    "sbl_known",
    "modified_music_known",
]
"""ours_EFFORT is "ours" with another effort; NAME_known is NAME with the true number of sources given."""

SUITES: tuple[SuiteName, ...] = get_args(SuiteName)
ESTIMATORS: tuple[EstimatorName, ...] = get_args(EstimatorName)
KNOWN = tuple(name for name in ESTIMATORS if name.endswith("_known"))
ON_DEMAND = ("ours_fast", "ours_thorough", "chance")
"""Estimators that run only if --estimators names them."""
BLIND = tuple(name for name in ESTIMATORS if name not in (*KNOWN, *ON_DEMAND))
TRAINED = ("ours", "ours_fast", "ours_thorough", "untrained")
"""Localizers: those with the weights of --backbone, and the untrained one of the same shape."""
FIXED_NUMBER = ("sources", "separation", "modified_music")
"""Suites with a fixed number of sources in each cell, so that it can be given to estimators."""


def default_estimators(suite: str) -> tuple[EstimatorName, ...]:
    """Estimators of a suite if --estimators is not given."""
    return (*BLIND, *KNOWN) if suite in ("sources", "modified_music") else BLIND
