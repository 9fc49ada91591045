"""Frames: one scene and the answer to it as JSON data for the page."""

from typing import Any

import numpy as np

from models.physics.geometry import Scenario
from pipeline.figures import space
from pipeline.metrics.evaluation import metrics_config
from pipeline.metrics.matching import Gate, Sources, found_sources, match_sources
from pipeline.view.served_model import Answer
from pipeline.view.shots import Shot

_FLOOR_DB = -60.0  # a spectrum of zeros has no decibels


def frame(shot: Shot, answer: Answer, scenario: Scenario) -> dict[str, Any]:
    """The found sources of a scene, with the true sources and the spectrum if they are available.

    Positions and semi-axes are in metres, angles in degrees. `hit` is None if the true sources are unknown.
    """
    found = found_sources(answer.outputs)
    truth = shot.truth
    hits = None if truth is None else _hits(truth, found, metrics_config(scenario).standard_gate)
    return {
        "title": shot.title,
        "snr_db": _short(shot.measurement.snr_db[0]),
        "latency_ms": round(answer.latency_ms, 1),
        "model_version": answer.model_version,
        "true_m": None if truth is None else _places(truth),
        "found": [_source(found, slot, hits) for slot in range(int(found.num_sources[0]))],
        "spectrum": None if answer.spectrum is None else spectrum(answer.spectrum),
    }


def _hits(truth: Sources, found: Sources, gate: Gate) -> np.ndarray:
    """Whether the source in each slot is a hit, [K] bool."""
    table = match_sources(truth, found)
    hits = np.zeros(found.max_sources, bool)
    rows = table.is_found & table.hits(gate)
    hits[table.found_slot[rows]] = True
    return hits


def _places(sources: Sources) -> list[list[float | None]]:
    return [[_short(value) for value in place] for place in sources.position_m[0, sources.used[0]]]


def _source(found: Sources, slot: int, hits: np.ndarray | None) -> dict[str, Any]:
    covariance_m2 = found.position_cov_m2[0, slot]
    semi_axes_m = space.semi_axes_m(covariance_m2)
    names = ("azimuth_deg", "elevation_deg", "range_m", "score")
    return {
        **{name: _short(getattr(found, name)[0, slot]) for name in names},
        "position_m": [_short(value) for value in found.position_m[0, slot]],
        "deviation_m": None if semi_axes_m is None else _short(np.sqrt(max(np.trace(covariance_m2), 0.0))),
        "semi_axes_m": None if semi_axes_m is None else [[_short(value) for value in row] for row in semi_axes_m],
        "hit": None if hits is None else bool(hits[slot]),
    }


def spectrum(outputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """Two pictures of the MVDR spectrum of one scene, in dB relative to its maximum.

    range: [ranges][azimuths], the maximum over elevation. elevation: [elevations][azimuths], the maximum over range.
    range_slice, elevation_slice: slices through the highest point. floor_db: the median, which is the level away from
    sources. azimuth_deg, elevation_deg: grid points. range_m: edges of the range cells.
    """
    power = outputs["spectrum"][0]
    level_db = 10.0 * np.log10(np.maximum(power / power.max(), 10.0 ** (_FLOOR_DB / 10.0)))
    _, elevation, range_ = np.unravel_index(np.argmax(power), power.shape)
    axes = {name: outputs[name][0] for name in ("azimuth_deg", "elevation_deg", "range_m")}
    pictures = {
        "range": level_db.max(axis=1).T,
        "elevation": level_db.max(axis=2).T,
        "range_slice": level_db[:, elevation, :].T,
        "elevation_slice": level_db[:, :, range_].T,
    }
    axes["range_m"] = _edges(axes["range_m"])
    return {
        "floor_db": _short(np.median(level_db)),
        **{name: [_short(value) for value in values] for name, values in axes.items()},
        **{name: np.round(picture.astype(float), 1).tolist() for name, picture in pictures.items()},
    }


def _edges(range_m: np.ndarray) -> np.ndarray:
    """Edges [n + 1] of cells around ranges [n] that are uniform in inverse range; no edge is at infinity."""
    inverse = 1.0 / range_m
    half = 0.5 * np.diff(inverse, prepend=2 * inverse[0] - inverse[1], append=2 * inverse[-1] - inverse[-2])
    edges = np.append(inverse - half[:-1], inverse[-1] + half[-1])
    return 1.0 / np.maximum(edges, 0.5 * inverse.min())


def _short(value: float) -> float | None:
    """Rounds to four significant digits; NaN becomes None, because JSON has no NaN."""
    return float(f"{value:.4g}") if np.isfinite(value) else None
