"""Outputs of a baseline in the format of the localizer: K_max slots, descending score, NaN in unused slots."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from models.physics.steering import source_positions_m

BatchLocalizer = Callable[[Mapping[str, Any]], dict[str, np.ndarray]]
"""Maps snapshots, ris_codes, channel and snr_db, batch first, to the outputs of `spectrum_localizer`."""

INPUTS = ("snapshots", "ris_codes", "channel", "snr_db")


class SceneReport(NamedTuple):
    """The K sources found in one scene, in any order.

    points: [K, 3] float64: azimuth, elevation (radians), inverse range (1/m).
    score: [K] float64.
    position_cov_m2: [K, 3, 3] float64, m^2; None if the estimator gives none.
    """

    points: np.ndarray
    score: np.ndarray
    position_cov_m2: np.ndarray | None = None


def batch_localizer(
    locate: Callable[[np.ndarray, np.ndarray, np.ndarray, float], SceneReport], max_sources: int
) -> BatchLocalizer:
    """Applies `locate` to one scene after the other and stacks the results.

    Args:
      locate: function of snapshots [L, M], ris_codes [L, N], channel [M, N] and snr_db of one scene.
      max_sources: K_max.

    Returns:
      A function of a batch, which returns num_sources int32 [B]; azimuth_deg, elevation_deg, range_m, score float32
      [B, K_max]; position_m [B, K_max, 3]; and position_cov_m2 [B, K_max, 3, 3] if the estimator gives it.
    """

    def localize(scenes: Mapping[str, Any]) -> dict[str, np.ndarray]:
        inputs = [np.asarray(scenes[key]) for key in INPUTS]
        return stack_reports([locate(*scene) for scene in zip(*inputs, strict=True)], max_sources)

    return localize


def stack_reports(reports: list[SceneReport], max_sources: int) -> dict[str, np.ndarray]:
    """Converts reports of B scenes to the outputs of the localizer.

    Keeps the `max_sources` highest scores per scene.
    """
    stacked: dict[str, list[np.ndarray]] = {}
    for report in reports:
        order = np.argsort(-report.score, kind="stable")[:max_sources]
        azimuth, elevation, inverse_range = report.points[order].T
        fields = {
            "azimuth_deg": np.degrees(azimuth),
            "elevation_deg": np.degrees(elevation),
            "range_m": 1.0 / inverse_range,
            "score": report.score[order],
            "position_m": source_positions_m(*map(tf.constant, (azimuth, elevation, 1.0 / inverse_range))).numpy(),
        }
        if report.position_cov_m2 is not None:
            fields["position_cov_m2"] = report.position_cov_m2[order]
        for name, value in fields.items():
            padded = np.full((max_sources, *value.shape[1:]), np.nan, np.float32)
            padded[: len(value)] = value
            stacked.setdefault(name, []).append(padded)
    num_sources = np.array([min(len(report.score), max_sources) for report in reports], np.int32)
    return {"num_sources": num_sources} | {name: np.stack(values) for name, values in stacked.items()}
