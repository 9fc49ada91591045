"""Figures of single scenes with true and found sources."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Wedge
from scipy import stats

from models.physics.geometry import Scenario
from pipeline.figures.plots import BLUE, GREY, VERMILION, new_figure, tidy
from pipeline.metrics.evaluation import Evaluation, bin_index
from pipeline.metrics.matching import Sources

_ELLIPSE_PROBABILITY = 0.9


def pick_scenes(evaluation: Evaluation, count: int) -> list[int]:
    """Selects at most `count` scenes to show and returns their indices by rising SNR.

    It cycles through the SNR bins, prefers scenes with three or more sources, and does not depend on the estimates.
    """
    bins = bin_index(evaluation.snr_db, evaluation.config.snr_edges_db)
    turn = np.zeros(bins.size, int)
    for number in np.unique(bins):
        members = np.flatnonzero(bins == number)
        crowded_first = np.argsort(evaluation.truth.num_sources[members] < 3, kind="stable")
        turn[members[crowded_first]] = np.arange(members.size)
    chosen = np.lexsort((bins, turn))[:count]
    return sorted(chosen.tolist(), key=lambda index: evaluation.snr_db[index])


def _view_axes(sources: Sources, scene: int, side: bool) -> np.ndarray:
    """Axes of a view for each slot of a scene, [K, 2, 3]: (x, y) from above, (horizontal distance, z) from the side."""
    if not side:
        return np.broadcast_to(np.eye(3)[:2], (sources.max_sources, 2, 3))
    azimuth = np.radians(sources.azimuth_deg[scene])
    zero, one = np.zeros_like(azimuth), np.ones_like(azimuth)
    outward = np.stack([np.cos(azimuth), np.sin(azimuth), zero], axis=-1)
    return np.stack([outward, np.stack([zero, zero, one], axis=-1)], axis=1)


def _projected(sources: Sources, scene: int, side: bool) -> tuple[np.ndarray, np.ndarray]:
    """Positions [K, 2] and covariances [K, 2, 2] of the slots of a scene in a view."""
    view = _view_axes(sources, scene, side)
    position = np.einsum("kij,kj->ki", view, sources.position_m[scene])
    return position, view @ sources.position_cov_m2[scene] @ np.swapaxes(view, -1, -2)


def _draw_error_ellipse(axes: Axes, centre: np.ndarray, covariance: np.ndarray, colour: str) -> None:
    if not np.isfinite(covariance).all():
        return
    variances, directions = np.linalg.eigh(covariance)
    width, height = 2.0 * np.sqrt(np.maximum(variances, 0.0) * stats.chi2.ppf(_ELLIPSE_PROBABILITY, df=2))
    angle = np.degrees(np.arctan2(directions[1, 0], directions[0, 0]))
    place, look = (centre[0], centre[1]), {"facecolor": colour, "alpha": 0.25, "edgecolor": colour, "lw": 1.0}
    axes.add_patch(Ellipse(place, width, height, angle=angle, **look))


def _draw_surroundings(axes: Axes, scenario: Scenario, side: bool) -> None:
    """Draws the field of view and the surface."""
    field, array = scenario.field_of_view, scenario.array
    low_m, high_m = field.range_m
    angles = field.elevation_deg if side else field.azimuth_deg
    axes.add_patch(Wedge((0, 0), high_m, *angles, width=high_m - low_m, facecolor="#F3F5F7", edgecolor="#C9CED3"))
    extent = array.aperture_m[1 if side else 0] / 2
    axes.plot([0, 0], [-extent, extent], color="black", lw=4, solid_capstyle="butt")
    reach, least = high_m * np.sin(np.radians(angles)), (-0.1 * high_m, 0.1 * high_m)
    axes.set(
        xlim=(-0.05 * high_m, 1.04 * high_m), ylim=(1.08 * min(reach[0], least[0]), 1.08 * max(reach[1], least[1]))
    )
    axes.set_aspect("equal")
    tidy(axes)


def _draw_scene(axes: Axes, evaluation: Evaluation, scenario: Scenario, scene: int, side: bool) -> None:
    _draw_surroundings(axes, scenario, side)
    table, hits = evaluation.table, evaluation.table.hits(evaluation.config.standard_gate)
    true_position, _ = _projected(evaluation.truth, scene, side)
    found_position, found_covariance = _projected(evaluation.found, scene, side)
    axes.plot(*true_position.T, ls="", marker="o", ms=11, mfc="none", mec="black", mew=1.6, zorder=4)
    for row in np.flatnonzero((table.scene == scene) & table.is_found):
        found = table.found_slot[row]
        colour = BLUE if hits[row] else VERMILION
        _draw_error_ellipse(axes, found_position[found], found_covariance[found], colour)
        if table.is_pair[row]:
            ends = np.stack([true_position[table.true_slot[row]], found_position[found]])
            axes.plot(*ends.T, color=GREY, lw=1.0, ls=":", zorder=3)
        axes.plot(*found_position[found], ls="", marker="X", ms=7, mfc=colour, mec="white", mew=0.7, zorder=5)


def _scene_title(evaluation: Evaluation, scene: int) -> str:
    hits = int(evaluation.standard.hits[scene])
    true, found = int(evaluation.truth.num_sources[scene]), int(evaluation.found.num_sources[scene])
    snr = f"{evaluation.snr_db[scene]:.0f}".replace("-", "\N{MINUS SIGN}")
    return f"scene {scene}, SNR {snr} dB\n{hits} of {true} found, {found - hits} false"


def _legend_handles() -> list[Line2D]:
    def handle(label: str, marker: str, face: str, edge: str, size: float) -> Line2D:
        return Line2D([], [], ls="", marker=marker, mfc=face, mec=edge, ms=size, label=label)

    return [
        handle("true source", "o", "none", "black", 10),
        handle("found, within the standard gate", "X", BLUE, "white", 9),
        handle("found, outside the standard gate", "X", VERMILION, "white", 9),
        Line2D([], [], color=GREY, lw=1.0, ls=":", label="assigned to each other"),
        Line2D([], [], color=BLUE, alpha=0.35, lw=8, label=f"reported error, {_ELLIPSE_PROBABILITY:.0%} ellipse"),
        Line2D([], [], color="black", lw=4, label="RIS"),
    ]


def plot_scenes(evaluation: Evaluation, scenario: Scenario, scenes: list[int]) -> Figure:
    """Plots true and found sources of several scenes, one column each: top view and side view."""
    heights = [np.ptp(np.sin(angles)) for angles in (scenario.field_of_view.azimuth, scenario.field_of_view.elevation)]
    figure = new_figure(3.0 * len(scenes) + 0.8, 2.7 * sum(heights) + 2.0)
    figure.set_layout_engine("constrained", hspace=0.06)
    panels = figure.subplots(2, len(scenes), squeeze=False, sharex=True, sharey="row", height_ratios=heights)
    for column, scene in enumerate(scenes):
        for row, side in enumerate((False, True)):
            _draw_scene(panels[row, column], evaluation, scenario, scene, side)
        panels[0, column].set_title(_scene_title(evaluation, scene), fontsize=10)
        panels[0, column].set_xlabel("x, m")
        panels[0, column].tick_params(labelbottom=True)
        panels[1, column].set_xlabel("horizontal distance, m")
    panels[0, 0].set_ylabel("from above: y, m")
    panels[1, 0].set_ylabel("from the side: z, m")
    figure.legend(handles=_legend_handles(), loc="outside lower center", ncols=6, frameon=False)
    return figure


def plot_scene(evaluation: Evaluation, scenario: Scenario, scene: int) -> Figure:
    """Plots one scene as `plot_scenes` does, with the top view to the left of the side view."""
    figure = new_figure(8.4, 4.6)
    for axes, side in zip(figure.subplots(1, 2), (False, True), strict=True):
        _draw_scene(axes, evaluation, scenario, scene, side)
        axes.set_xlabel("horizontal distance, m" if side else "x, m")
        axes.set_ylabel("from the side: z, m" if side else "from above: y, m")
    figure.suptitle(_scene_title(evaluation, scene).replace("\n", ": "), fontsize=11)
    figure.legend(handles=_legend_handles(), loc="outside lower center", ncols=3, frameon=False)
    return figure
