"""All metrics of an evaluation as one nested dictionary, for metrics.json (docs/evaluation.md)."""

import dataclasses
import itertools
import math
from typing import Annotated, Any

import numpy as np
from annotated_types import MinLen

from models.checked import Ascending, AtLeast1, InsideUnit, Positive, checked
from models.physics.geometry import Scenario
from pipeline.metrics.match_counts import MatchCounts, count_matches, percentile_interval, ratio, resample_weights
from pipeline.metrics.matching import Gate, Gospa, MatchTable, Sources, gospa, match_sources
from pipeline.metrics.reliability import GatedErrors, gated_errors, position_covariance_metrics, score_calibration

STANDARD_GATE = Gate()
STRICT_GATE = Gate(azimuth_deg=2.0, elevation_deg=2.0, range_m=0.25)


Edges = Annotated[tuple[float, ...], MinLen(2), Ascending]


@checked(frozen=True)
class MetricsConfig:
    """Settings of the metrics: gates, error caps, bins and bootstrap."""

    standard_gate: Gate = STANDARD_GATE
    """What a hit is."""
    strict_gate: Gate = STRICT_GATE
    """What a close hit is."""
    rmse_scale_m: Positive = 2.0
    """rmse_xyz that weighs as much in the objective as 0.1 of F1, metres."""
    max_error_m: Positive = 20.0
    """Cap of a position error in rmse_xyz, and the rmse of an answer without any pair, metres. The default is twice the
    longest range, more than any two points of the field of view are apart."""
    gospa_cutoff_m: Positive = 1.0
    """Cut-off c of GOSPA, metres."""
    snr_edges_db: Edges = (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0)
    """Edges of the SNR bins, dB; the last bin holds its upper edge. Scenes outside have open bins of their own."""
    range_edges_m: Edges = (0.5, 1.0, 2.0, 5.0, 10.0)
    """Edges of the bins of true range, metres, likewise."""
    resamples: AtLeast1 = 2000
    """Bootstrap resamples of the scenes."""
    confidence: InsideUnit = 0.95
    """Confidence of all intervals."""
    seed: int = 0
    """Seed of the bootstrap."""


def metrics_config(scenario: Scenario) -> MetricsConfig:
    """Settings of the metrics for an installation; for the default one they are the defaults of `MetricsConfig`.

    The standard gate is that of the field of view; the strict gate has 0.4 of its angles and 0.25 of its range.
    `rmse_scale_m` and `gospa_cutoff_m` scale with the gate. Errors are capped at twice the longest range. Range bins
    have edges at 1, 2 and 5 of every decade.
    """
    view = scenario.field_of_view
    angle_deg, range_m = view.gate_angle_deg, view.gate_range_m
    return MetricsConfig(
        standard_gate=Gate(angle_deg, angle_deg, range_m),
        strict_gate=Gate(0.4 * angle_deg, 0.4 * angle_deg, 0.25 * range_m),
        rmse_scale_m=2.0 * range_m,
        max_error_m=2.0 * view.range_m[1],
        gospa_cutoff_m=range_m,
        range_edges_m=_range_edges_m(*view.range_m),
    )


def _range_edges_m(low: float, high: float) -> tuple[float, ...]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    return (low, *(edge for edge in inside if low * 1.001 < edge < high * 0.999), high)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Matched sources of B scenes, from which metrics, plots and comparisons are computed.

    snr_db: [B], dB. gospa: of each scene. standard, strict: counts per scene at the two gates. errors: normalised
    errors of the hits at the standard gate.
    """

    truth: Sources
    found: Sources
    snr_db: np.ndarray
    table: MatchTable
    gospa: Gospa
    standard: MatchCounts
    strict: MatchCounts
    errors: GatedErrors
    config: MetricsConfig


def match_and_count(
    truth: Sources, found: Sources, snr_db: np.ndarray, config: MetricsConfig = MetricsConfig()
) -> Evaluation:
    """Matches true and found sources of B scenes and counts hits at both gates; snr_db is [B], dB."""
    snr_db = np.asarray(snr_db, np.float64)
    if truth.num_scenes == 0 or snr_db.shape != (truth.num_scenes,):
        raise ValueError(f"snr_db: expected one value for each of 1 or more scenes, got {snr_db.shape}")
    table = match_sources(truth, found)
    standard, strict = (
        count_matches(table, truth, found, gate, config.max_error_m, config.rmse_scale_m)
        for gate in (config.standard_gate, config.strict_gate)
    )
    errors, distance = gated_errors(table, found, config.standard_gate), gospa(truth, found, config.gospa_cutoff_m)
    return Evaluation(truth, found, snr_db, table, distance, standard, strict, errors, config)


def bin_index(values: np.ndarray, edges: tuple[float, ...]) -> np.ndarray:
    """Bin index of each value, of any shape, -1 outside all bins. Bins are [low, high), the last one [low, high]."""
    index = np.searchsorted(edges, values, side="right") - 1
    index = np.where(values == edges[-1], len(edges) - 2, index)
    return np.where((index >= 0) & (index < len(edges) - 1), index, -1)


def whole_edges(values: np.ndarray, edges: tuple[float, ...]) -> tuple[float, ...]:
    """`edges` extended by -inf or inf if values lie outside, so that every value is in a bin."""
    below = (-math.inf,) if np.any(values < edges[0]) else ()
    above = (math.inf,) if np.any(values > edges[-1]) else ()
    return (*below, *edges, *above)


def bin_label(low: float, high: float) -> str:
    """Label of a bin: "0 to 5", "below -5", "from 20"."""
    if math.isinf(low):
        return f"below {high:g}"
    return f"from {low:g}" if math.isinf(high) else f"{low:g} to {high:g}"


def _statistics(counts: MatchCounts, weights: np.ndarray, confidence: float, names: tuple[str, ...]) -> dict[str, Any]:
    """Statistics of the summed counts by name, with bootstrap intervals as NAME_interval."""
    total, resampled = counts.total(), counts.resampled(weights)
    metrics: dict[str, Any] = {}
    for name in names:
        metrics[name] = float(getattr(total, name))
        metrics[f"{name}_interval"] = percentile_interval(getattr(resampled, name), confidence)
    return metrics


def _gate_metrics(counts: MatchCounts, weights: np.ndarray, confidence: float) -> dict[str, Any]:
    total = counts.total()
    return {
        "true_positives": int(total.hits),
        "false_positives": int(total.found - total.hits),
        "false_negatives": int(total.true - total.hits),
        **_statistics(counts, weights, confidence, ("precision", "recall", "f1")),
    }


def _gospa_metrics(parts: Gospa, scenes: np.ndarray, weights: np.ndarray, confidence: float) -> dict[str, Any]:
    distance = parts.distance_m[scenes]
    return {
        "mean_m": _mean(distance),
        "mean_m_interval": percentile_interval(ratio(weights @ distance, weights.sum(axis=1)), confidence),
        **{part: _mean(getattr(parts, part)[scenes]) for part in ("localisation_m2", "missed_m2", "false_m2")},
    }


def _core_metrics(evaluation: Evaluation, scenes: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    """All metrics that are defined for a subset of the scenes, [B] bool, with bootstrap weights [R, B]."""
    confidence, weights = evaluation.config.confidence, weights[:, scenes]
    standard, strict = evaluation.standard.select(scenes), evaluation.strict.select(scenes)
    total, table = standard.total(), evaluation.table
    right_number = evaluation.found.num_sources == evaluation.truth.num_sources
    return {
        "scenes": int(scenes.sum()),
        "sources": int(total.true),
        "estimates": int(total.found),
        "pairs": int(total.pairs),
        **_statistics(standard, weights, confidence, ("objective", "rmse_xyz_m")),
        "median_position_error_m": _median(table.position_error_m[table.is_pair & scenes[table.scene]]),
        "nees_over_3": evaluation.errors.nees_over_3(scenes[table.scene]),
        **_bound_metrics(table, scenes[table.scene]),
        "standard": _gate_metrics(standard, weights, confidence),
        "strict": _gate_metrics(strict, weights, confidence),
        "false_alarms_per_scene": float(ratio(total.found - total.hits, scenes.sum())),
        "gospa": _gospa_metrics(evaluation.gospa, scenes, weights, confidence),
        "num_sources_accuracy": _mean(right_number[scenes]),
    }


def _bound_metrics(table: MatchTable, rows: np.ndarray) -> dict[str, float]:
    """Position error of pairs in rows [R] bool against the Cramer-Rao bound; NaN if no bound is known."""
    pairs = rows & table.is_pair & np.isfinite(table.bound_m)
    return {
        "median_bound_m": _median(table.bound_m[pairs]),
        "median_error_over_bound": _median(table.position_error_m[pairs] / table.bound_m[pairs]),
    }


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if values.size else float("nan")


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else float("nan")


def _by_snr(evaluation: Evaluation, weights: np.ndarray) -> list[dict[str, Any]]:
    edges = whole_edges(evaluation.snr_db, evaluation.config.snr_edges_db)
    index = bin_index(evaluation.snr_db, edges)
    return [
        {"snr_db": [low, high], **_core_metrics(evaluation, index == number, weights)}
        for number, (low, high) in enumerate(itertools.pairwise(edges))
    ]


def _range_bin(evaluation: Evaluation, rows: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    """Metrics of the true sources in rows [R] bool of the table."""
    table, num_scenes, config = evaluation.table, evaluation.truth.num_scenes, evaluation.config

    def totals(mask: np.ndarray) -> np.ndarray:
        return weights @ np.bincount(table.scene[mask], minlength=num_scenes)

    metrics: dict[str, Any] = {"sources": int(rows.sum())}
    for name, gate in (("standard", config.standard_gate), ("strict", config.strict_gate)):
        hits = rows & table.hits(gate)
        metrics[f"recall_{name}"] = float(ratio(hits.sum(), rows.sum()))
        metrics[f"recall_{name}_interval"] = percentile_interval(ratio(totals(hits), totals(rows)), config.confidence)
    pairs = rows & table.is_pair
    error_m = table.position_error_m[pairs]
    return metrics | {
        "pairs": int(pairs.sum()),
        "rmse_xyz_m": float(np.sqrt(_mean(np.minimum(error_m, config.max_error_m) ** 2))),
        "median_position_error_m": _median(error_m),
        "quartiles_position_error_m": np.quantile(error_m, [0.25, 0.75]).tolist() if error_m.size else [math.nan] * 2,
        **_bound_metrics(table, rows),
        **{
            f"median_{name}": _median(np.abs(getattr(table, name)[pairs]))
            for name in ("range_error_m", "azimuth_error_deg", "elevation_error_deg")
        },
    }


def _by_range(evaluation: Evaluation, weights: np.ndarray) -> list[dict[str, Any]]:
    table = evaluation.table
    edges = whole_edges(table.true_range_m[table.is_true], evaluation.config.range_edges_m)
    index = bin_index(table.true_range_m, edges)
    return [
        {"range_m": [low, high], **_range_bin(evaluation, table.is_true & (index == number), weights)}
        for number, (low, high) in enumerate(itertools.pairwise(edges))
    ]


def confusion_matrix(true_count: np.ndarray, found_count: np.ndarray, size: int) -> np.ndarray:
    """Number of scenes by number of true sources (row) and found sources (column), [size, size] int64."""
    return np.bincount(true_count * size + found_count, minlength=size**2).reshape(size, size)


def compute_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """All metrics as nested Python numbers, NaN where one is not defined; docs/evaluation.md explains every key."""
    config, truth, found = evaluation.config, evaluation.truth, evaluation.found
    weights = resample_weights(truth.num_scenes, config.resamples, config.seed)
    everything = np.ones(truth.num_scenes, bool)
    size = max(truth.max_sources, found.max_sources) + 1
    invalid = found.used & ~np.isfinite(found.position_m).all(axis=-1)
    return {
        **_core_metrics(evaluation, everything, weights),
        "invalid_estimates": int(invalid.sum()),
        "num_sources_confusion": confusion_matrix(truth.num_sources, found.num_sources, size).tolist(),
        "calibration": score_calibration(evaluation.table, config.standard_gate, config.confidence),
        "position_covariance": position_covariance_metrics(evaluation.table, evaluation.errors, config.confidence),
        "by_snr": _by_snr(evaluation, weights),
        "by_range": _by_range(evaluation, weights),
        "settings": dataclasses.asdict(config),
    }
