"""Draws a scene with Matplotlib: the sources found, their error ellipses and the true sources."""

import io
import math
from collections.abc import Sequence

import numpy as np

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse
except ImportError as error:
    raise ImportError("plot: expected Matplotlib, got none; pip install matplotlib") from error

_BLUE = "#0072B2"
_PROBABILITY = 0.9
_STANDARD_DEVIATIONS = math.sqrt(-2.0 * math.log(1.0 - _PROBABILITY))  # of a plane normal distribution


class _SceneFigure(Figure):
    """A figure that notebooks show without pyplot."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=80)
        return picture.getvalue()


def plot_sources(
    found: Sequence[tuple[np.ndarray, np.ndarray]], true_m: np.ndarray | None, axes: Sequence[Axes] | None
) -> Figure:
    """See `Scene.plot`. `axes` None makes a new figure.

    found: position [3], metres, and its covariance [3, 3], m^2, of each source. true_m: true positions, [K, 3], metres.
    """
    if true_m is not None and (true_m.ndim != 2 or true_m.shape[1] != 3):
        raise ValueError(f"truth: expected a Truth or positions of shape [K, 3], got {list(true_m.shape)}")
    if axes is None:
        own = _SceneFigure(figsize=(8.0, 3.6), layout="constrained")
        above, side = own.subplots(1, 2)
    else:
        above, side = axes
    for panel, seen_from_side in ((above, False), (side, True)):
        _draw(panel, found, true_m, seen_from_side)
    above.set(xlabel="x, m", ylabel="y, m", title="from above")
    side.set(xlabel="horizontal distance, m", ylabel="z, m", title="from the side")
    above.legend(loc="best", fontsize="small")
    figure = above.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def _view(position_m: np.ndarray, seen_from_side: bool) -> np.ndarray:
    """The two directions of a view at a position, [2, 3]: x and y, or outward and z."""
    if not seen_from_side:
        return np.eye(3)[:2]
    distance_m = math.hypot(position_m[0], position_m[1])
    outward = [position_m[0] / distance_m, position_m[1] / distance_m, 0.0] if distance_m > 0 else [1.0, 0.0, 0.0]
    return np.array([outward, [0.0, 0.0, 1.0]])


def _draw(
    panel: Axes, found: Sequence[tuple[np.ndarray, np.ndarray]], true_m: np.ndarray | None, seen_from_side: bool
) -> None:
    panel.plot(0.0, 0.0, ls="", marker="s", ms=7, color="black", label="surface")
    for number, position_m in enumerate(() if true_m is None else true_m):
        point = _view(position_m, seen_from_side) @ position_m
        label = "_" if number else "true source"
        panel.plot(*point, ls="", marker="o", ms=11, mfc="none", mec="black", mew=1.5, label=label)
    for number, (position_m, covariance_m2) in enumerate(found):
        view = _view(position_m, seen_from_side)
        point = view @ position_m
        panel.add_patch(_ellipse(point, view @ covariance_m2 @ view.T))
        label = "_" if number else f"found source, {_PROBABILITY:.0%} ellipse"
        panel.plot(*point, ls="", marker="X", ms=7, mfc=_BLUE, mec="white", mew=0.7, label=label)
    panel.set_aspect("equal", adjustable="datalim")
    panel.margins(0.1)
    panel.grid(True, color="#DDDDDD")
    panel.set_axisbelow(True)


def _ellipse(centre: np.ndarray, covariance: np.ndarray) -> Ellipse:
    variances, directions = np.linalg.eigh(covariance)
    width, height = 2.0 * _STANDARD_DEVIATIONS * np.sqrt(np.maximum(variances, 0.0))
    angle = math.degrees(math.atan2(directions[1, 0], directions[0, 0]))
    return Ellipse((centre[0], centre[1]), width, height, angle=angle, facecolor=_BLUE, edgecolor=_BLUE, alpha=0.3)
