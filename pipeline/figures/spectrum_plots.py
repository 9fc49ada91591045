"""Figures of the MVDR spectrum of R_eff and the refiner's heat map, with true and found sources."""

import io
import math
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from models.covariance_estimator.dictionary import PolarDictionary
from pipeline.figures.plots import VERMILION, new_figure

_DYNAMIC_RANGE_DB = 25.0


class SpectrumView(NamedTuple):
    """One scene before and after the refiner, in a row with a title.

    spectrum: MVDR power over the floor of R_eff, dB, [azimuth, elevation, range]. presence: heat map of the refiner on
    its own grid. true, before, after: azimuth and elevation in degrees and range in metres, [n, 3], of the true
    sources, the peaks of the spectrum and the peaks of the heat map.
    """

    spectrum: np.ndarray
    presence: np.ndarray
    true: np.ndarray
    before: np.ndarray
    after: np.ndarray
    title: str


def _edges(centres: np.ndarray) -> np.ndarray:
    """Edges of cells, [n + 1], with evenly spaced centres [n]."""
    step = centres[1] - centres[0]
    return np.append(centres - step / 2, centres[-1] + step / 2)


def _axes_of(dictionary: PolarDictionary) -> list[np.ndarray]:
    """Cell edges of the grid along azimuth and elevation in degrees and inverse range in 1/m."""
    places = dictionary.places().numpy().reshape(*dictionary.config.shape, 3)
    sines = [_edges(places[:, 0, 0, 0]), _edges(places[0, :, 0, 1])]
    return [*(np.degrees(np.arcsin(np.clip(edge, -1.0, 1.0))) for edge in sines), _edges(places[0, 0, :, 2])]


def _slice(axes: Axes, volume: np.ndarray, dictionary: PolarDictionary, over: int, limits: tuple[float, float]) -> None:
    """Draws the maximum of a volume over one axis (1: elevation, 2: range), with azimuth to the right."""
    edges = _axes_of(dictionary)
    axes.pcolormesh(edges[0], edges[3 - over], volume.max(axis=over).T, vmin=limits[0], vmax=limits[1], cmap="viridis")


def _mark(axes: Axes, sources: np.ndarray, by_range: bool, **style: Any) -> None:
    height = 1.0 / sources[:, 2] if by_range else sources[:, 1]
    axes.plot(sources[:, 0], height, ls="", **style)


def range_ticks_m(low: float, high: float) -> list[float]:
    """Ticks of an axis of inverse range: 1, 1.5, 2, 3, 5 and 7 of every decade, at least 1/25 of the axis apart.

    The ends of the axis and the ticks, which rise, are in metres.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    nice = [digit * 10.0**decade for decade in decades for digit in (1, 1.5, 2, 3, 5, 7)]
    shown: list[float] = []
    for range_m in (r for r in nice if low * 0.999 <= r <= high * 1.001):
        if not shown or 1 / shown[-1] - 1 / range_m >= (1 / low - 1 / high) / 25:
            shown.append(range_m)
    return shown


def plot_spectra(views: list[SpectrumView], before: PolarDictionary, after: PolarDictionary) -> Figure:
    """Plots spectrum and heat map over azimuth and elevation, then over azimuth and range, one row for each scene.

    before, after: grids of the spectrum and of the heat map.
    """
    figure = new_figure(15.0, 3.0 * len(views) + 0.9)
    panels = figure.subplots(len(views), 4, squeeze=False, sharex=True)
    names = ("MVDR spectrum", "heat map") * 2
    for row, view in zip(panels, views, strict=True):
        for column, axes in enumerate(row):
            by_range, refined = column >= 2, column % 2 == 1
            volume, dictionary = (view.presence, after) if refined else (view.spectrum, before)
            limits = (0.0, 1.0) if refined else (0.0, _DYNAMIC_RANGE_DB)
            _slice(axes, volume, dictionary, 1 if by_range else 2, limits)
            found = view.after if refined else view.before
            _mark(axes, view.true, by_range, marker="o", ms=11, mfc="none", mec="white", mew=1.6)
            _mark(axes, found, by_range, marker="x", ms=7, mec=VERMILION, mew=2.0)
            if by_range:
                ticks_m = range_ticks_m(*dictionary.field_of_view.range_m)
                axes.set_yticks([1.0 / r for r in ticks_m], [f"{r:g}" for r in ticks_m])
            axes.set_ylabel("range, m" if by_range else "elevation, deg")
        row[0].set_title(view.title, loc="left", fontsize=10)
    for name, top, bottom in zip(names, panels[0], panels[-1], strict=True):
        top.set_title(name, loc="right", fontsize=10, fontweight="bold")
        bottom.set_xlabel("azimuth, deg")
    handles = [
        Line2D([], [], ls="", marker="o", ms=10, mfc="#888888", mec="white", mew=1.6, label="true source"),
        Line2D([], [], ls="", marker="x", ms=7, mec=VERMILION, mew=2.0, label="found"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def png(figure: Figure, dpi: int = 80) -> bytes:
    """The figure as the content of a PNG file, with `dpi` pixels per inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    return buffer.getvalue()
