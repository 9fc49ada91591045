"""Single scenes in 3-D: the surface, where the sources are, where the estimates lie and how sure they are of it."""

import io
import itertools
from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go
from scipy import stats

from models.physics.geometry import FieldOfView, RISArray, Scenario
from pipeline.evaluation.figures.plots import BLUE, GREY, VERMILION
from pipeline.evaluation.figures.scene_plots import pick_scenes, plot_scene
from pipeline.evaluation.metrics import Evaluation
from pipeline.reporting import styles
from pipeline.reporting.evaluations import Stored
from pipeline.reporting.parts import Plot, Section

_PROBABILITY = 0.9
_AROUND, _UP = 16, 9  # points of an ellipsoid
_ARC = 13  # points of an edge of the field of view
_LOOKS = {True: ("within the gate", BLUE, "circle"), False: ("outside the gate", VERMILION, "diamond")}


def scenes(item: Stored, scenario: Scenario, count: int) -> Section:
    """Some scenes by rising SNR; the choice does not look at the answer."""
    chosen = pick_scenes(item.evaluation, count)
    return Section("scenes", "Scenes", [_scene(item.evaluation, scenario, scene) for scene in chosen])


def _scene(evaluation: Evaluation, scenario: Scenario, scene: int) -> Plot:
    hits, true = int(evaluation.standard.hits[scene]), int(evaluation.truth.num_sources[scene])
    found = int(evaluation.found.num_sources[scene])
    said = f"{hits} of {true} sources found, {found - hits} false"
    ellipsoids = f" with {_PROBABILITY:.0%} error ellipsoids" if _has_covariance(evaluation, scene) else ""
    return Plot(
        f"scene-{scene}",
        f"Scene {scene}, SNR {evaluation.snr_db[scene]:.0f} dB".replace("-", "\N{MINUS SIGN}"),
        f"{said}. Circles are true sources, dots and diamonds estimates{ellipsoids}, the plate at the origin is the "
        "surface; drag to turn it.",
        f"scene {scene}: {said}",
        scene_drawing(evaluation, scenario, scene),
        _still(evaluation, scenario, scene),
    )


def _has_covariance(evaluation: Evaluation, scene: int) -> bool:
    return bool(np.isfinite(evaluation.found.position_cov_m2[scene]).any())


def _still(evaluation: Evaluation, scenario: Scenario, scene: int) -> bytes:
    picture = io.BytesIO()
    plot_scene(evaluation, scenario, scene).savefig(picture, format="png", dpi=100, facecolor="white")
    return picture.getvalue()


def scene_drawing(evaluation: Evaluation, scenario: Scenario, scene: int) -> go.Figure:
    """A scene in metres, equal scales along all axes."""
    drawn = styles.drawing("", "", height=520)
    drawn.add_trace(_surface(scenario.array))
    drawn.add_trace(_edges(scenario.field_of_view))
    table, hits = evaluation.table, evaluation.table.hits(evaluation.config.standard_gate)
    true_m, found_m = evaluation.truth.position_m[scene], evaluation.found.position_m[scene]
    rows = np.flatnonzero(table.scene == scene)
    drawn.add_trace(
        _lines([(true_m[table.true_slot[row]], found_m[table.found_slot[row]]) for row in rows[table.is_pair[rows]]])
    )
    there = true_m[evaluation.truth.used[scene]]
    drawn.add_trace(_points(there, "true source", {"symbol": "circle-open", "size": 9, "color": styles.BLACK}))
    for hit, (name, colour, symbol) in _LOOKS.items():
        slots = table.found_slot[rows[table.is_found[rows] & (hits[rows] == hit)]]
        if slots.size:
            own = {"symbol": symbol, "size": 5, "color": colour}
            score = evaluation.found.score[scene, slots]
            drawn.add_trace(_points(found_m[slots], f"estimate {name}", own, score))
            for slot in slots:
                drawn.add_traces(list(_ellipsoid(found_m[slot], evaluation.found.position_cov_m2[scene, slot], colour)))
    _frame(drawn)
    return drawn


def _frame(drawn: go.Figure) -> None:
    axis = {"backgroundcolor": "#F7F8F9", "gridcolor": "#DDDDDD", "showbackground": True, "zeroline": False}
    drawn.update_layout(
        margin={"l": 0, "r": 0, "t": 8, "b": 0},
        scene={
            **{f"{name}axis": {**axis, "title": {"text": f"{name}, m"}} for name in "xyz"},
            "aspectmode": "data",
            "camera": {"eye": {"x": -1.35, "y": -1.8, "z": 0.95}, "center": {"x": 0, "y": 0, "z": -0.12}},
            "dragmode": "orbit",
        },
    )


def _xyz(points: np.ndarray) -> dict[str, list[float | None]]:
    """Columns of points [n, 3]."""
    return {name: styles.numbers(points[:, axis]) for axis, name in enumerate("xyz")}


def _points(places_m: np.ndarray, name: str, look: dict[str, object], score: np.ndarray | None = None) -> go.Scatter3d:
    """Markers at places [n, 3], with scores [n] where they have some."""
    said = [f"{np.linalg.norm(place):.2f} m away" for place in places_m]
    if score is not None:
        said = [
            f"{text}, score {value:.2f}" if np.isfinite(value) else text
            for text, value in zip(said, score, strict=True)
        ]
    hover = "%{text}<br>x %{x:.2f}, y %{y:.2f}, z %{z:.2f} m"
    return go.Scatter3d(**_xyz(places_m), name=name, mode="markers", marker=look, text=said, hovertemplate=hover)


def _lines(pairs: list[tuple[np.ndarray, np.ndarray]]) -> go.Scatter3d:
    """From each true source to its estimate."""
    gap = np.full(3, np.nan)
    points = np.array([point for one, other in pairs for point in (one, other, gap)]).reshape(-1, 3)
    look = {"color": GREY, "width": 3}
    return go.Scatter3d(
        **_xyz(points), name="assigned to each other", mode="lines", line=look, hoverinfo="skip", showlegend=False
    )


def _surface(array: RISArray) -> go.Mesh3d:
    """The aperture as a plate in the y-z plane."""
    width_m, height_m = array.aperture_m
    corners = np.array([[0.0, y * width_m / 2, z * height_m / 2] for y, z in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    look = {"color": styles.BLACK, "opacity": 0.85, "name": "surface"}
    return go.Mesh3d(**_xyz(corners), i=[0, 0], j=[1, 2], k=[2, 3], hoverinfo="name", **look)


def _edges(field: FieldOfView) -> go.Scatter3d:
    """Edges of the watched region: four rays, and arcs at its near and far end."""
    gap = np.full((1, 3), np.nan)
    azimuth, elevation = np.linspace(*field.azimuth, _ARC), np.linspace(*field.elevation, _ARC)
    rays = [_places(*corner, np.array(field.range_m)) for corner in itertools.product(field.azimuth, field.elevation)]
    arcs = [_places(azimuth, angle, far) for angle, far in itertools.product(field.elevation, field.range_m)]
    arcs += [_places(angle, elevation, far) for angle, far in itertools.product(field.azimuth, field.range_m)]
    points = np.concatenate([part for edge in (*rays, *arcs) for part in (edge, gap)])
    look = {"color": "#A9B2BA", "width": 2}
    return go.Scatter3d(
        **_xyz(points), name="field of view", mode="lines", line=look, hoverinfo="skip", showlegend=False
    )


def _places(azimuth: np.ndarray | float, elevation: np.ndarray | float, range_m: np.ndarray | float) -> np.ndarray:
    """Spherical coordinates, radians and metres, as points [n, 3]."""
    azimuth, elevation, range_m = np.broadcast_arrays(azimuth, elevation, range_m)
    level = np.cos(elevation)
    return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], axis=-1) * range_m[:, None]


def _ellipsoid(centre_m: np.ndarray, covariance_m2: np.ndarray, colour: str) -> Iterator[go.Mesh3d]:
    """{q: (q - centre)^T C^-1 (q - centre) <= chi-square of 3}, of a finite covariance C [3, 3]."""
    if not (np.isfinite(covariance_m2).all() and np.isfinite(centre_m).all()):
        return
    variances, axes = np.linalg.eigh(covariance_m2)
    radii = np.sqrt(np.maximum(variances, 0.0) * stats.chi2.ppf(_PROBABILITY, df=3))
    around, up = np.meshgrid(np.linspace(0, 2 * np.pi, _AROUND + 1)[:-1], np.linspace(-np.pi / 2, np.pi / 2, _UP))
    sphere = _places(around.ravel(), up.ravel(), np.ones(around.size))
    cells = [(row * _AROUND, column) for row in range(_UP - 1) for column in range(_AROUND)]
    squares = [(row + column, row + (column + 1) % _AROUND) for row, column in cells]
    i = [corner for one, other in squares for corner in (one, other)]
    j = [corner for one, other in squares for corner in (other, other + _AROUND)]
    k = [one + _AROUND for one, _ in squares for _ in range(2)]
    look = {"color": colour, "opacity": 0.25, "hoverinfo": "skip", "showlegend": False, "name": "error ellipsoid"}
    yield go.Mesh3d(**_xyz(centre_m + (sphere * radii) @ axes.T), i=i, j=j, k=k, **look)
