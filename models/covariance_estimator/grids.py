"""The default polar grid of an installation. Imports no TensorFlow, so that options are read quickly."""

import dataclasses

import numpy as np

from models.covariance_estimator.config import BackboneConfig, GridConfig
from models.physics.geometry import FieldOfView, RISArray, Scenario

_CELL_BEAMS, _CELL_DEPTHS = 0.475, 2.1  # cells in units of `RISArray.resolution`
_LEAST_CELLS = 3  # a peak needs neighbours on both sides


def default_grid(array: RISArray, field_of_view: FieldOfView, density: int = 1) -> GridConfig:
    """The default grid: cells of 0.475 beam widths, and of 2.1 lambda / D^2 in inverse range.

    `density` multiplies the number of cells along each axis. The grid of the default installation is 22 x 13 x 10.
    """
    limits = (np.sin(field_of_view.azimuth), np.sin(field_of_view.elevation), field_of_view.inverse_range)
    spans = np.array([high - low for low, high in limits])
    cells = np.ceil(spans / (np.array(array.resolution) * (_CELL_BEAMS, _CELL_BEAMS, _CELL_DEPTHS)) - 1e-9)
    return GridConfig(*(density * max(int(count), _LEAST_CELLS) for count in cells))


def moved_grid(grid: GridConfig, before: Scenario, after: Scenario) -> GridConfig:
    """Converts a grid of installation `before` to one of the same relative density for `after`."""
    asked = [default_grid(one.array, one.field_of_view).shape for one in (before, after)]
    cells = (round(own * new / old) for own, old, new in zip(grid.shape, *asked, strict=True))
    return GridConfig(*(max(count, _LEAST_CELLS) for count in cells))


def moved_config(config: BackboneConfig, before: Scenario, after: Scenario) -> BackboneConfig:
    """Converts settings for installation `before` to `after`. Only the grid changes; no weight depends on it."""
    grid = moved_grid(config.grid, before, after)
    return dataclasses.replace(config, grid=grid, active_atoms=min(config.active_atoms, grid.size))
