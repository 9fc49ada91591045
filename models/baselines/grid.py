"""Points of the polar dictionary and their received vectors in one scene."""

import numpy as np

from models.baselines.measurement import Measurement, steering_columns
from models.covariance_estimator.config import GridConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.grids import default_grid
from models.physics.geometry import Scenario


class SearchGrid:
    """The polar dictionary in complex128, by default that of the installation. Steering vectors are not normalised.

    Attributes:
      points: [G, 3] float64: azimuth, elevation (radians), inverse range (1/m).
      vectors: [N, G] complex128.
      shape: number of (azimuth, elevation, range) cells; range index fastest.
    """

    def __init__(self, scenario: Scenario, config: GridConfig | None) -> None:
        config = config or default_grid(scenario.array, scenario.field_of_view)
        dictionary = PolarDictionary(scenario.array, scenario.field_of_view, config)
        axes = (dictionary.azimuth, dictionary.elevation, dictionary.inverse_range)
        self.points = np.stack([axis.numpy().astype(np.float64) for axis in axes], axis=-1)
        self.vectors = steering_columns(self.points, scenario.array)[0]
        self.shape = config.shape

    def energy(self, measurement: Measurement) -> np.ndarray:
        """|Phi_l a_g|^2, [L, G] float64."""
        return squared(measurement.respond(self.vectors)).sum(axis=1)

    def correlation(self, measurement: Measurement, values: np.ndarray) -> np.ndarray:
        """a_g^H Phi_l^H x_lj for x [L, M, J]: [L, J, G] complex128."""
        projected = measurement.back_project(values).mT
        return (projected.reshape(-1, projected.shape[-1]) @ self.vectors.conj()).reshape(*projected.shape[:2], -1)


def squared(values: np.ndarray) -> np.ndarray:
    """|x|^2, without the square root of np.abs."""
    return values.real**2 + values.imag**2
