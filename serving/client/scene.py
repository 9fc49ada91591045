"""What was found in a scene, as objects: the same from a model server and from the localizer in this process."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAUSES_OF_NO_SOURCES = (
    "conjugated or reordered inputs: phases must fall with distance as exp(-j k d), element n is "
    "row * columns + column, and neither codes nor channel are conjugated",
    "codes or a channel of another recording or installation",
    "a wrong SNR: snr_db is in dB, noise_power in the units of |snapshots|^2",
    "weak sources, or none in the field of view: below 5 dB SNR many sources are missed",
)
"""Why a scene may show no source, likeliest first."""


SOURCE_OUTPUTS = ("azimuth_deg", "elevation_deg", "range_m", "position_m", "power_db", "score", "position_cov_m2")
"""Outputs that every localizer has for each of its slots: fields of `Source`."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Place:
    """A point in front of the surface.

    azimuth_deg, elevation_deg, range_m: seen from the centre of the surface, degrees and metres.
    position_m: (x, y, z), [3], metres.
    """

    azimuth_deg: float
    elevation_deg: float
    range_m: float
    position_m: np.ndarray

    @classmethod
    def at(cls, azimuth_deg: float, elevation_deg: float, range_m: float) -> "Place":
        """The point at these angles and this range."""
        angles_deg, range_m = (float(azimuth_deg), float(elevation_deg)), float(range_m)
        azimuth, elevation = np.radians(angles_deg)
        horizontal = np.cos(elevation)
        direction = np.array([horizontal * np.cos(azimuth), horizontal * np.sin(azimuth), np.sin(elevation)])
        return Place(*angles_deg, range_m, range_m * direction)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Place) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def _said(self) -> str:
        return f"azimuth {self.azimuth_deg:.2f} deg, elevation {self.elevation_deg:.2f} deg, range {self.range_m:.3f} m"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._said()})"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Source(Place):
    """A source that was found (docs/conventions.md, Output).

    azimuth_deg, elevation_deg, range_m: seen from the centre of the surface, degrees and metres.
    position_m: (x, y, z), [3], metres.
    power_db: mean received power relative to that of the whole scene, dB.
    score: probability that this is a source near its true place, 0 to 1.
    position_cov_m2: covariance of the position error, [3, 3], square metres.
    num_paths: paths seen of the source, the direct one and its reflections; None where the model does not say.
    more: other outputs of the model for this source, by name.
    """

    power_db: float
    score: float
    position_cov_m2: np.ndarray
    num_paths: int | None = None
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def position_error_m(self) -> float:
        """Expected distance to the true position (RMS), metres: the square root of the trace of the covariance."""
        return float(np.sqrt(np.trace(self.position_cov_m2)))

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "Source":
        """The inverse of `to_dict`. Raises ValueError, one line, if a field is absent."""
        left = dict(entry)
        values = {name: _taken(left, name) for name in SOURCE_OUTPUTS}
        arrays = {name: np.array(values[name], float) for name in ("position_m", "position_cov_m2")}
        return cls(**{**values, **arrays}, num_paths=left.pop("num_paths", None), more=left)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in the client's JSON file."""
        values = super().to_dict()
        more = values.pop("more")
        return {**{name: value for name, value in values.items() if value is not None}, **more}

    def _said(self) -> str:
        return f"{super()._said()}, error {self.position_error_m:.3f} m, score {self.score:.2f}"


class _Places:
    """What found and true scenes share."""

    sources: tuple[Place, ...]

    @property
    def num_sources(self) -> int:
        """Number of sources."""
        return len(self.sources)

    @property
    def positions_m(self) -> np.ndarray:
        """(x, y, z) of all sources, [K, 3], metres."""
        return np.array([source.position_m for source in self.sources], float).reshape(-1, 3)

    def __repr__(self) -> str:
        name = type(self).__name__
        if not self.sources:
            return f"{name}(no sources)"
        noun = "source" if self.num_sources == 1 else "sources"
        lines = "".join(f"\n  {source._said()}" for source in self.sources)
        return f"{name}({self.num_sources} {noun}:{lines})"


@dataclasses.dataclass(frozen=True, repr=False)
class Truth(_Places):
    """The true sources of a simulated scene."""

    sources: tuple[Place, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {"num_sources": self.num_sources, "sources": [source.to_dict() for source in self.sources]}


@dataclasses.dataclass(frozen=True, repr=False)
class Scene(_Places):
    """What was found in a scene.

    sources: by falling score.
    model_version: version of the model on the server that answered; None for a localizer in this process.
    more: other outputs of the model for the scene, by name, such as `refined`.

    Examples:
      >>> scene = localizer.locate("measurement.npz")[0]
      >>> scene.sources[0].position_m
      >>> scene.plot().savefig("scene.png")
    """

    sources: tuple[Source, ...]
    model_version: int | None = None
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def hint(self) -> str:
        """Likely causes where no source was found; empty where one was."""
        if self.sources:
            return ""
        return "no source found; likely causes:" + "".join(f"\n- {cause}" for cause in CAUSES_OF_NO_SOURCES)

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "Scene":
        """The inverse of `to_dict`. Raises ValueError, one line, if a field is absent."""
        left = dict(entry)
        sources = tuple(Source.from_dict(source) for source in _taken(left, "sources"))
        left.pop("num_sources", None)
        return cls(sources, left.pop("model_version", None), left)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the scene's entry in the client's JSON file."""
        return {
            "model_version": self.model_version,
            "num_sources": self.num_sources,
            **self.more,
            "sources": [source.to_dict() for source in self.sources],
        }

    def plot(
        self, truth: Truth | np.ndarray | Sequence[Sequence[float]] | None = None, axes: "Sequence[Axes] | None" = None
    ) -> "Figure":
        """Draws the sources with their 90 % error ellipses, from above and from the side. Needs Matplotlib.

        Args:
          truth: true sources, drawn as circles: a `Truth`, or positions [K, 3] in metres.
          axes: two Matplotlib axes to draw on, from above and from the side; left out, a new figure.

        Returns:
          The figure. A notebook shows it; `figure.savefig("scene.png")` stores it.
        """
        from serving.client.plot import plot_sources

        true_m = truth.positions_m if isinstance(truth, Truth) else None if truth is None else np.asarray(truth, float)
        found = [(source.position_m, source.position_cov_m2) for source in self.sources]
        return plot_sources(found, true_m, axes)

    def __repr__(self) -> str:
        return super().__repr__() if self.sources else "Scene(no sources; .hint lists likely causes)"


def _taken(entry: dict[str, Any], name: str) -> Any:
    """Removes and returns a field."""
    if name not in entry:
        raise ValueError(f"{name}: expected a field of that name, got {', '.join(entry) or 'none'}")
    return entry.pop(name)
