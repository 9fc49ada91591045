"""The polar grid that an installation asks for; light, so that options can be read without TensorFlow."""

import dataclasses

import numpy as np

from models.covariance_estimator.config import BackboneConfig, GridConfig
from models.physics.geometry import FieldOfView, RISArray, Scenario

_CELL_BEAMS, _CELL_DEPTHS = 0.475, 2.1  # cells in units of `RISArray.resolution`
_LEAST_CELLS = 3  # a peak has neighbours


def default_grid(array: RISArray, field_of_view: FieldOfView, density: int = 1) -> GridConfig:
    """The grid that an installation asks for: cells of 0.475 beam widths and of 2.1 lambda / D^2 in inverse range.

    Args:
      array, field_of_view: the installation; the default one's grid is 22 x 13 x 10.
      density: cells along each axis in place of one.
    """
    limits = (np.sin(field_of_view.azimuth), np.sin(field_of_view.elevation), field_of_view.inverse_range)
    spans = np.array([high - low for low, high in limits])
    cells = np.ceil(spans / (np.array(array.resolution) * (_CELL_BEAMS, _CELL_BEAMS, _CELL_DEPTHS)) - 1e-9)
    return GridConfig(*(density * max(int(count), _LEAST_CELLS) for count in cells))


def moved_grid(grid: GridConfig, before: Scenario, after: Scenario) -> GridConfig:
    """A grid as fine for an installation as it was for another; the same where both ask for the same."""
    asked = [default_grid(one.array, one.field_of_view).shape for one in (before, after)]
    cells = (round(own * new / old) for own, old, new in zip(grid.shape, *asked, strict=True))
    return GridConfig(*(max(count, _LEAST_CELLS) for count in cells))


def moved_config(config: BackboneConfig, before: Scenario, after: Scenario) -> BackboneConfig:
    """The same estimator for another installation: the grid follows it, and no weight depends on the grid."""
    grid = moved_grid(config.grid, before, after)
    return dataclasses.replace(config, grid=grid, active_atoms=min(config.active_atoms, grid.size))
