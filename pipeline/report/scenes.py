"""Section of the report with single scenes in 3-D: surface, true sources, estimates and error ellipsoids."""

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go

from models.physics.geometry import Scenario
from pipeline.figures import space, styles
from pipeline.figures.plots import BLUE, GREY, VERMILION
from pipeline.figures.scene_plots import pick_scenes, plot_scene
from pipeline.figures.spectrum_plots import png
from pipeline.metrics.evaluation import Evaluation
from pipeline.report.evaluations import Stored
from pipeline.report.parts import Plot, Section

_LOOKS = {True: ("within the gate", BLUE, "circle"), False: ("outside the gate", VERMILION, "diamond")}


def scenes(item: Stored, scenario: Scenario, count: int) -> Section:
    """The section with `count` scenes by rising SNR, see `pick_scenes`."""
    chosen = pick_scenes(item.evaluation, count)
    return Section("scenes", "Scenes", [_scene(item.evaluation, scenario, scene) for scene in chosen])


def _scene(evaluation: Evaluation, scenario: Scenario, scene: int) -> Plot:
    hits, true = int(evaluation.standard.hits[scene]), int(evaluation.truth.num_sources[scene])
    found = int(evaluation.found.num_sources[scene])
    summary = f"{hits} of {true} sources found, {found - hits} false"
    has_covariance = np.isfinite(evaluation.found.position_cov_m2[scene]).any()
    ellipsoids = f" with {space.PROBABILITY:.0%} error ellipsoids" if has_covariance else ""
    return Plot(
        f"scene-{scene}",
        f"Scene {scene}, SNR {evaluation.snr_db[scene]:.0f} dB".replace("-", "\N{MINUS SIGN}"),
        f"{summary}. Circles: true sources. Dots and diamonds: estimates{ellipsoids}. Plate at the origin: surface. "
        "Drag to rotate.",
        f"scene {scene}: {summary}",
        scene_drawing(evaluation, scenario, scene),
        png(plot_scene(evaluation, scenario, scene), dpi=100),
    )


def scene_drawing(evaluation: Evaluation, scenario: Scenario, scene: int) -> go.Figure:
    """A Plotly figure of a scene, in metres, with equal scales along all axes."""
    drawn = styles.drawing("", "", height=520)
    drawn.add_trace(space.surface(scenario.array))
    drawn.add_trace(space.edges(scenario.field_of_view))
    table, hits = evaluation.table, evaluation.table.hits(evaluation.config.standard_gate)
    true_m, found_m = evaluation.truth.position_m[scene], evaluation.found.position_m[scene]
    rows = np.flatnonzero(table.scene == scene)
    drawn.add_trace(
        _lines([(true_m[table.true_slot[row]], found_m[table.found_slot[row]]) for row in rows[table.is_pair[rows]]])
    )
    true_sources_m = true_m[evaluation.truth.used[scene]]
    drawn.add_trace(_points(true_sources_m, "true source", {"symbol": "circle-open", "size": 9, "color": styles.BLACK}))
    for hit, (name, colour, symbol) in _LOOKS.items():
        slots = table.found_slot[rows[table.is_found[rows] & (hits[rows] == hit)]]
        if slots.size:
            own = {"symbol": symbol, "size": 5, "color": colour}
            score = evaluation.found.score[scene, slots]
            drawn.add_trace(_points(found_m[slots], f"estimate {name}", own, score))
            for slot in slots:
                drawn.add_traces(list(_ellipsoid(found_m[slot], evaluation.found.position_cov_m2[scene, slot], colour)))
    space.frame(drawn)
    return drawn


def _points(places_m: np.ndarray, name: str, look: dict[str, object], score: np.ndarray | None = None) -> go.Scatter3d:
    """Markers at positions [n, 3] in metres, optionally with scores [n]."""
    scores = np.full(len(places_m), np.nan) if score is None else score
    texts = [
        f"range {np.linalg.norm(place):.2f} m" + (f", score {value:.2f}" if np.isfinite(value) else "")
        for place, value in zip(places_m, scores, strict=True)
    ]
    return go.Scatter3d(
        **space.xyz(places_m), name=name, mode="markers", marker=look, text=texts, hovertemplate=space.HOVER
    )


def _lines(pairs: list[tuple[np.ndarray, np.ndarray]]) -> go.Scatter3d:
    """Lines from each true source to its estimate."""
    gap = np.full(3, np.nan)
    points = np.array([point for one, other in pairs for point in (one, other, gap)]).reshape(-1, 3)
    look = {"color": GREY, "width": 3}
    return go.Scatter3d(
        **space.xyz(points), name="assigned to each other", mode="lines", line=look, hoverinfo="skip", showlegend=False
    )


def _ellipsoid(centre_m: np.ndarray, covariance_m2: np.ndarray, colour: str) -> Iterator[go.Mesh3d]:
    """The error ellipsoid of an estimate, if it has one."""
    semi_axes_m = space.semi_axes_m(covariance_m2)
    if semi_axes_m is None or not np.isfinite(centre_m).all():
        return
    points, triangles = space.unit_sphere()
    yield go.Mesh3d(**space.xyz(centre_m + points @ semi_axes_m.T), **triangles, **space.ellipsoid_look(colour))
