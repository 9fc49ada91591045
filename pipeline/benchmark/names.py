"""Names of suites and estimators; light, so that options can be read without TensorFlow."""

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
"""ours_EFFORT is ours at another effort, NAME_known is NAME told the number of sources."""

SUITES: tuple[SuiteName, ...] = get_args(SuiteName)
ESTIMATORS: tuple[EstimatorName, ...] = get_args(EstimatorName)
KNOWN = tuple(name for name in ESTIMATORS if name.endswith("_known"))
ON_DEMAND = ("ours_fast", "ours_thorough", "chance")
"""They run only where they are asked for."""
BLIND = tuple(name for name in ESTIMATORS if name not in (*KNOWN, *ON_DEMAND))
TRAINED = ("ours", "ours_fast", "ours_thorough", "untrained")
"""They have weights, or those of the same shape."""
FIXED_NUMBER = ("sources", "separation", "modified_music")
"""Suites in whose cells the number of sources is fixed, so that it can be told."""


def default_estimators(suite: str) -> tuple[EstimatorName, ...]:
    """What a suite runs if nothing else is said."""
    return (*BLIND, *KNOWN) if suite in ("sources", "modified_music") else BLIND
