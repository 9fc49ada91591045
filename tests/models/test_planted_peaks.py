"""The peaks of R_true are at the sources, to 1e-3 rad and 1e-3 1/m, for any positions."""

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.config import GridConfig
from models.physics.covariance import LowRankCovariance, effective_low_rank
from models.physics.geometry import FieldOfView, RISArray
from models.physics.steering import steering_vectors
from models.spectrum.config import DetectionConfig
from models.spectrum.detection import find_peaks
from models.spectrum.mvdr import MVDR

VIEW = FieldOfView()
SCENES, SOURCES = 16, 3
SEPARATION = 0.25  # in sin(azimuth) or sin(elevation): 1.5 beam widths of 12 elements


def draw(rng: np.random.Generator) -> np.ndarray:
    """Azimuth, elevation and inverse range [SOURCES, 3] of separated sources, uniform in the field of view."""
    while True:
        azimuth, elevation, range_m = (
            rng.uniform(*limits, SOURCES) for limits in (VIEW.azimuth, VIEW.elevation, VIEW.range_m)
        )
        sines = np.sin([azimuth, elevation])
        distance = np.max(np.abs(sines[:, :, None] - sines[:, None]), axis=0) + np.eye(SOURCES)
        if np.min(distance) > SEPARATION:
            return np.stack([azimuth, elevation, 1 / range_m], axis=-1)


@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_separated_sources_are_found(snr_db: float) -> None:
    rng = np.random.default_rng(1)
    places = np.stack([draw(rng) for _ in range(SCENES)])
    amplitude = np.sqrt(10.0 ** rng.uniform(-1.0, 0.0, (SCENES, 1, SOURCES)))
    vectors = steering_vectors(*(tf.constant(places[..., i], tf.float32) for i in range(3)), RISArray())
    factor = tf.linalg.matrix_transpose(vectors) * tf.constant(amplitude, tf.complex64)
    effective = effective_low_rank(
        LowRankCovariance(factor, tf.zeros([SCENES])), tf.fill([SCENES], snr_db), tf.constant(64)
    )
    peaks = find_peaks(effective, MVDR(RISArray(), VIEW, GridConfig(44, 26, 20)), DetectionConfig())
    points = np.where(peaks.valid[..., None], peaks.points, np.inf)
    error = np.max(np.abs(points[:, None] - places[:, :, None]), axis=-1)
    assert np.max(np.min(error, axis=-1)) < 1e-3
    np.testing.assert_array_equal(np.sum(peaks.valid, axis=1), SOURCES)
