"""Section of the report with MVDR spectra of single scenes, true sources and estimates."""

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go

from pipeline.figures import styles
from pipeline.figures.plots import VERMILION
from pipeline.figures.spectrum_plots import range_ticks_m
from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.matching import Sources
from pipeline.metrics.spectra import Spectra
from pipeline.report.parts import Plot, Section

_DYNAMIC_RANGE_DB = 25.0
_VIEWS = {"elevation": "range", "range": "elevation"}
"""Vertical axis of each map, and the axis over which the maximum is taken."""


def spectra_section(evaluation: Evaluation, spectra: Spectra) -> Section:
    """The section with two maps of every scene that has a spectrum."""
    shown = range(min(len(spectra.spectrum_db), evaluation.truth.num_scenes))
    return Section("spectra", "Spectra", [plot for scene in shown for plot in _plots(evaluation, spectra, scene)])


def _plots(evaluation: Evaluation, spectra: Spectra, scene: int) -> Iterator[Plot]:
    snr = f"SNR {evaluation.snr_db[scene]:.0f} dB".replace("-", "\N{MINUS SIGN}")
    true, found = int(evaluation.truth.num_sources[scene]), int(evaluation.found.num_sources[scene])
    for over, best in _VIEWS.items():
        yield Plot(
            f"spectrum-{scene}-{over}",
            f"Scene {scene}, {snr}: azimuth and {over}",
            f"Maximum of the MVDR spectrum over {best}, in dB above the minimum of the spectrum. Circles: {true} true "
            f"sources. Crosses: {found} estimates after refinement by maximum likelihood.",
            f"{true} true sources, {found} estimates",
            spectrum_drawing(evaluation, spectra, scene, over),
        )


def spectrum_drawing(evaluation: Evaluation, spectra: Spectra, scene: int, over: str) -> go.Figure:
    """A map of the spectrum over azimuth and `over`: "elevation", or "range" on an axis of 1 / range."""
    volume = spectra.spectrum_db[scene].astype(float)
    by_range = over == "range"
    heights = volume.max(axis=1 if by_range else 2).T
    top = float(np.nanmax(heights))
    y = 1.0 / spectra.range_m if by_range else spectra.elevation_deg
    drawn = styles.drawing("azimuth, degrees", "range, m" if by_range else "elevation, degrees")
    drawn.add_trace(
        go.Heatmap(
            x=styles.numbers(spectra.azimuth_deg),
            y=styles.numbers(y),
            z=[[round(value, 1) for value in row] for row in heights.tolist()],
            zmin=max(0.0, top - _DYNAMIC_RANGE_DB),
            zmax=top,
            colorscale="Viridis",
            colorbar={"thickness": 12, "title": {"text": "dB"}},
            name="spectrum",
            hovertemplate="%{z:.1f} dB<extra></extra>",
        )
    )
    circle = {"symbol": "circle-open", "size": 15, "color": "white", "line": {"width": 2.5}}
    cross = {"symbol": "x-thin", "size": 10, "line": {"color": VERMILION, "width": 3}}
    for name, sources, look in (("true source", evaluation.truth, circle), ("estimate", evaluation.found, cross)):
        drawn.add_trace(_points(sources, scene, by_range, name, look))
    if by_range:
        ticks = range_ticks_m(float(spectra.range_m.min()), float(spectra.range_m.max()))
        drawn.update_yaxes(tickvals=[1.0 / r for r in ticks], ticktext=[f"{r:g}" for r in ticks])
    drawn.update_layout(legend={"bgcolor": "#9AA5AE"})
    return drawn


def _points(sources: Sources, scene: int, by_range: bool, name: str, look: dict[str, object]) -> go.Scatter:
    used = sources.used[scene]
    y = 1.0 / sources.range_m[scene, used] if by_range else sources.elevation_deg[scene, used]
    texts = [f"{name}, {range_m:.2f} m" for range_m in sources.range_m[scene, used]]
    shown = {"mode": "markers", "marker": look, "text": texts, "hovertemplate": "%{text}<extra></extra>"}
    return go.Scatter(x=styles.numbers(sources.azimuth_deg[scene, used]), y=styles.numbers(y), name=name, **shown)
