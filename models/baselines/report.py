"""What the baselines share. Outputs have the localizer's format: K_max slots, descending score, NaN in unused slots."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from models.baselines.grid import SearchGrid
from models.baselines.measurement import Measurement, measure
from models.checked import checked
from models.covariance_estimator.config import GridConfig
from models.physics.geometry import Scenario
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


@checked(frozen=True)
class GridSearchConfig:
    """The grid of an estimator."""

    grid: GridConfig | None = None
    """Grid that is searched; default that of the installation."""


@dataclasses.dataclass(eq=False)
class Estimator:
    """Locates the sources of one scene. Subclasses define `report` and the type of `config`."""

    scenario: Scenario
    config: Any

    @functools.cached_property
    def grid(self) -> SearchGrid:
        """The grid that is searched."""
        return SearchGrid(self.scenario, self.config.grid)

    @property
    def noise_inflation(self) -> float:
        """c of `measure`."""
        return 0.0

    def report(self, measurement: Measurement) -> SceneReport:
        """Locates the sources of a normalised measurement."""
        raise NotImplementedError

    def locate(self, snapshots: np.ndarray, ris_codes: np.ndarray, channel: np.ndarray, snr_db: float) -> SceneReport:
        """Locates the sources of one scene: [L, M], [L, N], [M, N] complex, dB."""
        return self.report(measure(snapshots, ris_codes, channel, snr_db, self.noise_inflation))

    @classmethod
    def for_batches(cls, *args: Any, **kwargs: Any) -> BatchLocalizer:
        """Creates the estimator as a function of a batch, which locates the sources of one scene after the other.

        It returns num_sources int32 [B]; azimuth_deg, elevation_deg, range_m, score float32 [B, K_max]; position_m
        [B, K_max, 3]; and position_cov_m2 [B, K_max, 3, 3] if the estimator gives it.
        """
        estimator = cls(*args, **kwargs)

        def localize(scenes: Mapping[str, Any]) -> dict[str, np.ndarray]:
            inputs = [np.asarray(scenes[key]) for key in INPUTS]
            reports = [estimator.locate(*scene) for scene in zip(*inputs, strict=True)]
            return stack_reports(reports, estimator.scenario.max_sources)

        return localize


def stack_reports(reports: list[SceneReport], max_sources: int) -> dict[str, np.ndarray]:
    """Converts reports of B scenes to the outputs of the localizer: the `max_sources` highest scores of each scene."""
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
