"""Locates sources from the spectrum or the heat map only, without the likelihood after R_pred.

Measures how good a covariance or a heat map is by itself.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from models.config import LocalizerConfig
from models.localizer import DEGREES, Analysis, Localizer, true_covariance
from models.physics.covariance import effective_low_rank
from models.physics.geometry import Scenario
from models.physics.observation import Observation
from models.physics.steering import source_positions_m
from models.spectrum.detection import Peaks, find_peaks
from models.spectrum.mvdr import spectrum_layer
from models.spectrum.proposals import rate_peaks
from models.spectrum.refiner import HeatMap


class _Found(NamedTuple):
    """Points [B, K_max, 3] and scores [B, K_max], in falling order; the score of unused entries is zero."""

    points: tf.Tensor
    score: tf.Tensor


def _read_peaks(peaks: Peaks, floor: tf.Tensor, max_sources: int) -> _Found:
    """The highest valid peaks. The score is P / (P + floor)."""
    height, order = tf.math.top_k(tf.where(peaks.valid, peaks.height, 0.0), max_sources)
    return _Found(tf.gather(peaks.points, order, batch_dims=1), height / (height + floor[:, None]))


def _report_points(found: _Found) -> dict[str, tf.Tensor]:
    """The outputs of the localizer that follow from points and scores."""
    keep = found.score > 0.0
    azimuth, elevation, inverse_range = tf.unstack(found.points, axis=-1)
    range_m = 1.0 / inverse_range
    fields = {
        "azimuth_deg": DEGREES * azimuth,
        "elevation_deg": DEGREES * elevation,
        "range_m": range_m,
        "score": found.score,
    }
    report = {name: tf.where(keep, value, float("nan")) for name, value in fields.items()}
    position = source_positions_m(azimuth, elevation, range_m)
    report["position_m"] = tf.where(keep[..., None], position, float("nan"))
    report["num_sources"] = tf.reduce_sum(tf.cast(keep, tf.int32), axis=-1)
    return report


class Reading(NamedTuple):
    """The spectrum, its peaks from the grid maxima, and the heat map if there is a refiner."""

    analysis: Analysis
    peaks: Peaks
    heat_map: HeatMap | None


def reading(localizer: Localizer, analysis: Analysis, observation: Observation) -> Reading:
    """Computes peaks and heat map from the results of `Localizer.analyse`.

    Uses only the grid maxima as initial points. The atoms of R_pred would often add the same source twice.
    """
    peaks = find_peaks(analysis.effective, localizer.mvdr, localizer.config.detection, spectrum=analysis.spectrum)
    heat_map = None if localizer.refiner is None else localizer.heat_map(analysis, observation)
    return Reading(analysis, peaks, heat_map)


def read_spectrum(localizer: Localizer, given: Reading) -> dict[str, tf.Tensor]:
    """Locates sources from a `reading`: from the spectrum, or from the heat map where the guard rails accept it.

    Returns the outputs of the localizer without power_db, position_cov_m2 and num_paths.
    """
    analysis, peaks, heat_map = given
    found = _read_peaks(peaks, analysis.effective.floor, localizer.scenario.max_sources)
    if localizer.refiner is None or heat_map is None:
        return _report_points(found)
    shown, refined = localizer.refine(analysis, heat_map)
    if localizer.refiner.config.keep_peaks:
        shown = rate_peaks(peaks, heat_map, shown, localizer.backbone.dictionary).above(localizer.refiner.min_presence)
    points = tf.where(refined[:, None, None], shown.points, found.points)
    score = tf.where(refined[:, None], shown.presence, found.score)
    return _report_points(_Found(points, score)) | {"refined": refined}


def oracle_localizer(
    scenario: Scenario, config: LocalizerConfig = LocalizerConfig()
) -> Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """MVDR on R_true with the same detection: an upper bound for any predicted covariance.

    The function maps a batch with the truth (snapshots, snr_db, azimuth, elevation, range_m, power, num_sources) to
    sources as in `read_spectrum`.
    """
    mvdr = spectrum_layer(scenario, config.spectrum_grid)

    @tf.function(autograph=False)
    def locate(scenes: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        num_snapshots = tf.shape(scenes["snapshots"])[1]
        covariance = true_covariance(scenes, scenario)
        effective = effective_low_rank(covariance, scenes["snr_db"], num_snapshots, config.shrinkage)
        peaks = find_peaks(effective, mvdr, config.detection)
        return _report_points(_read_peaks(peaks, effective.floor, scenario.max_sources))

    return lambda scenes: locate(dict(scenes))


def spectrum_localizer(localizer: Localizer) -> Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """MVDR on R_pred: locates sources from the spectrum of R_eff, without using the snapshots after R_pred.

    With a refiner, sources come from its heat map where the guard rails accept it. The refiner also reads the maps of
    the backbone. The function maps a batch (snapshots, ris_codes, channel, snr_db) to sources as in `read_spectrum`.
    """

    @tf.function(autograph=False)
    def locate(scenes: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        observation = localizer.observe(**scenes)
        analysis = localizer.analyse(observation, scenes["snr_db"])
        return read_spectrum(localizer, reading(localizer, analysis, observation))

    return lambda scenes: locate({name: scenes[name] for name in ("snapshots", "ris_codes", "channel", "snr_db")})
