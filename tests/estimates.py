"""Scenes and answers to them for the tests of the evaluation: only what matching looks at, no signals."""

import numpy as np

from models.physics.geometry import Scenario
from pipeline.metrics.evaluation import Evaluation, MetricsConfig, compute_metrics, match_and_count
from pipeline.metrics.matching import found_sources, true_sources

MAX_SOURCES = 5


def random_scenes(num_scenes: int, seed: int) -> dict[str, np.ndarray]:
    """Truth drawn as the simulator draws it, zero padded; 1 to 5 sources, SNR -5 to 20 dB."""
    rng = np.random.default_rng(seed)
    field = Scenario().field_of_view
    num_sources = rng.integers(1, MAX_SOURCES + 1, num_scenes).astype(np.int32)
    used = np.arange(MAX_SOURCES) < num_sources[:, None]
    limits = {"azimuth": field.azimuth, "elevation": field.elevation, "range_m": field.range_m}
    return {
        "num_sources": num_sources,
        "snr_db": rng.uniform(-5.0, 20.0, num_scenes).astype(np.float32),
        **{key: np.where(used, rng.uniform(*limit, used.shape), 0.0) for key, limit in limits.items()},
    }


def answer(
    num_sources: np.ndarray,
    azimuth_deg: np.ndarray,
    elevation_deg: np.ndarray,
    range_m: np.ndarray,
    score: np.ndarray | None = None,
    position_cov_m2: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """A localizer's outputs from spherical coordinates [B, K]; slots from num_sources on become NaN."""
    used = np.arange(range_m.shape[1]) < num_sources[:, None]
    azimuth, elevation = np.radians(azimuth_deg), np.radians(elevation_deg)
    direction = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    outputs = {
        "azimuth_deg": azimuth_deg,
        "elevation_deg": elevation_deg,
        "range_m": range_m,
        "position_m": range_m[..., None] * np.stack(direction, axis=-1),
        "score": score,
        "position_cov_m2": position_cov_m2,
    }
    return {"num_sources": num_sources.astype(np.int32)} | {
        key: np.where(used.reshape(used.shape + (1,) * (value.ndim - 2)), value, np.nan)
        for key, value in outputs.items()
        if value is not None
    }


def perfect(scenes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The truth as an answer, slots in reverse order."""
    backwards = np.maximum(scenes["num_sources"][:, None] - 1 - np.arange(MAX_SOURCES), 0)
    azimuth, elevation, range_m = (
        np.take_along_axis(scenes[key], backwards, axis=1) for key in ("azimuth", "elevation", "range_m")
    )
    return answer(scenes["num_sources"], np.degrees(azimuth), np.degrees(elevation), range_m)


def silent(num_scenes: int) -> dict[str, np.ndarray]:
    """No source in any scene."""
    nothing = np.full((num_scenes, MAX_SOURCES), np.nan)
    return answer(np.zeros(num_scenes), nothing, nothing, nothing)


def noisy(scenes: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """A middling estimator: errors grow with range and fall with SNR, some sources missed, some invented."""
    rng = np.random.default_rng(seed)
    shape = scenes["range_m"].shape
    spread = 10.0 ** (-scenes["snr_db"][:, None] / 20.0)
    range_deviation = 0.02 * scenes["range_m"] ** 2 * spread
    azimuth_deg = np.degrees(scenes["azimuth"]) + spread * rng.normal(size=shape)
    elevation_deg = np.degrees(scenes["elevation"]) + spread * rng.normal(size=shape)
    range_m = np.clip(scenes["range_m"] + range_deviation * rng.normal(size=shape), 0.1, None)
    change = rng.choice([-1, 0, 1], size=shape[0], p=[0.2, 0.65, 0.15])
    num_sources = np.clip(scenes["num_sources"] + change, 0, MAX_SOURCES)
    variance = np.maximum(range_deviation**2, 1e-6)[..., None, None] * np.eye(3)
    score = 1.0 / (1.0 + range_deviation)
    return answer(num_sources, azimuth_deg, elevation_deg, range_m, score, variance)


def evaluated(scenes: dict, outputs: dict, **settings) -> Evaluation:
    """Matched and counted, with few resamples; `settings` are `MetricsConfig`'s."""
    return match_and_count(
        true_sources(scenes), found_sources(outputs), scenes["snr_db"], MetricsConfig(resamples=200, **settings)
    )


def one_scene(azimuth_deg: float, elevation_deg: float, range_m: float) -> dict:
    """Metrics of one source at azimuth 0, elevation 0, range 2 m, answered as given."""
    scenes = {key: np.zeros((1, 1)) for key in ("azimuth", "elevation")}
    scenes |= {"num_sources": np.array([1]), "range_m": np.array([[2.0]]), "snr_db": np.array([0.0])}
    values = (np.array([[value]]) for value in (azimuth_deg, elevation_deg, range_m))
    return compute_metrics(evaluated(scenes, answer(np.array([1]), *values)))
