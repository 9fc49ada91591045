"""Draws amplitude and phase across the surface, nominal and calibrated."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from models.physics.geometry import RISArray
from pipeline.calibrate.files import StoredCalibration
from serving.client.files import replacing


def surface_figure(stored: StoredCalibration, array: RISArray) -> Figure:
    """Amplitude, phase and standard error of every element at its position: nominal above, calibrated below."""
    y, z = array.element_positions_m().T
    response = stored.element_response
    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(2, 3)
    size, most_error = 60.0 * 144 / response.size, max(0.05, stored.element_response_std.max())
    for row, (name, values, error) in enumerate(
        (
            ("nominal", np.ones_like(response), np.zeros(response.size)),
            ("calibrated", response, stored.element_response_std),
        )
    ):
        panels = (
            ("amplitude", np.abs(values), matplotlib.colormaps["viridis"], (0.0, max(1.2, np.abs(response).max()))),
            ("phase, rad", np.angle(values), matplotlib.colormaps["twilight_shifted"], (-np.pi, np.pi)),
            ("standard error", error, matplotlib.colormaps["magma"], (0.0, most_error)),
        )
        for axis, (label, shown, colours, limits) in zip(axes[row], panels, strict=True):
            points = axis.scatter(y, z, c=shown, s=size, marker="s", cmap=colours, vmin=limits[0], vmax=limits[1])
            if row:
                axis.scatter(y[stored.dead], z[stored.dead], s=size, marker="x", c="red")
            axis.set(title=f"{label}, {name}", xlabel="y, m", ylabel="z, m", aspect="equal")
            figure.colorbar(points, ax=axis)
    return figure


def draw_surface(path: Path, stored: StoredCalibration, array: RISArray) -> None:
    """Writes `surface_figure` to a file; red crosses mark dead elements."""
    with replacing(path) as temporary:
        surface_figure(stored, array).savefig(temporary, dpi=120)
