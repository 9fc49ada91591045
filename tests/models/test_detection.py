"""Peaks of the MVDR spectrum: off the grid, separate, and none without sources."""

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.config import GridConfig
from models.physics.covariance import LowRankCovariance, effective_low_rank
from models.physics.geometry import FieldOfView, RISArray
from models.physics.steering import steering_vectors
from models.spectrum.config import DetectionConfig
from models.spectrum.detection import Peaks, find_peaks
from models.spectrum.mvdr import MVDR

PLACES = np.array([[-0.7, 0.2, 0.4], [0.5, -0.3, 0.15], [0.52, -0.1, 0.9]])  # azimuth, elevation, 1/range
POWERS = np.array([1.0, 0.1, 0.3])


@pytest.fixture(scope="module")
def mvdr() -> MVDR:
    return MVDR(RISArray(), FieldOfView(), GridConfig(44, 26, 20))


def effective(places: np.ndarray, powers: np.ndarray, array: RISArray = RISArray()) -> LowRankCovariance:
    vectors = steering_vectors(*(tf.constant(x, tf.float32) for x in places.T), array)
    factor = tf.transpose(vectors) * tf.constant(np.sqrt(powers), tf.complex64)
    covariance = LowRankCovariance(factor[None], tf.zeros([1]))
    return effective_low_rank(covariance, tf.constant([10.0]), tf.constant(64))


def valid_points(peaks: Peaks) -> np.ndarray:
    return peaks.points.numpy()[peaks.valid.numpy()]


def test_sources_are_the_peaks(mvdr: MVDR) -> None:
    peaks = find_peaks(effective(PLACES, POWERS), mvdr, DetectionConfig())
    points = valid_points(peaks)
    nearest = [points[np.argmin(np.linalg.norm(points - place, axis=1))] for place in PLACES]
    np.testing.assert_allclose(nearest, PLACES, atol=2e-3)
    heights = peaks.height.numpy()[0]
    assert np.all(np.diff(heights) <= 0)
    assert len(points) == len(PLACES)


def test_height_is_the_spectrum_there(mvdr: MVDR) -> None:
    covariance = effective(PLACES, POWERS)
    peaks = find_peaks(covariance, mvdr, DetectionConfig())
    inverse = np.linalg.inv(covariance.dense().numpy()[0].astype(np.complex128))
    vectors = steering_vectors(*(peaks.points[0, :, i] for i in range(3)), RISArray()).numpy()
    expected = 1 / np.einsum("tn,nm,tm->t", vectors.conj(), inverse, vectors).real
    valid = peaks.valid[0].numpy()
    np.testing.assert_allclose(peaks.height[0].numpy()[valid], expected[valid], rtol=1e-2)


def test_elements_with_a_pattern_show_the_same_peaks() -> None:
    """Near the edge of the field of view |a| is small, and an unnormalised spectrum would exceed its floor."""
    array = RISArray(amplitude="spherical", element_exponent=2.0)
    mvdr = MVDR(array, FieldOfView(), GridConfig(22, 13, 10))
    covariance = effective(PLACES, POWERS, array)
    peaks = find_peaks(covariance, mvdr, DetectionConfig())
    points = valid_points(peaks)
    assert len(points) == len(PLACES)
    nearest = [points[np.argmin(np.linalg.norm(points - place, axis=1))] for place in PLACES]
    np.testing.assert_allclose(nearest, PLACES, atol=5e-3)
    contrast = np.sort(mvdr(covariance).numpy().ravel()) / covariance.floor.numpy()
    assert np.median(contrast) == pytest.approx(1.0, abs=0.1)


def test_every_source_counts_once(mvdr: MVDR) -> None:
    """One source that has several maxima on the coarse grid."""
    peaks = find_peaks(effective(PLACES[:1], POWERS[:1]), mvdr, DetectionConfig(contrast_db=10.0))
    assert len(valid_points(peaks)) == 1


def test_merging_and_contrast_matter(mvdr: MVDR) -> None:
    pair = np.array([[0.1, 0.0, 0.3], [0.125, 0.0, 0.3]])
    covariance = effective(pair, np.ones(2))
    assert len(valid_points(find_peaks(covariance, mvdr, DetectionConfig(merge_cells=3.0)))) == 1
    tall = find_peaks(effective(PLACES, POWERS), mvdr, DetectionConfig(contrast_db=60.0))
    assert len(valid_points(tall)) == 0


def test_white_covariance_has_no_peak(mvdr: MVDR) -> None:
    white = LowRankCovariance(tf.zeros([1, 144, 3], tf.complex64), tf.ones([1]))
    assert len(valid_points(find_peaks(white, mvdr, DetectionConfig()))) == 0


@pytest.mark.parametrize("field", ["candidates", "polish_steps", "merge_cells"])
def test_refusals(field: str) -> None:
    with pytest.raises(ValueError, match=rf"DetectionConfig.{field}: expected (a positive number|1 or more), got 0"):
        DetectionConfig(**{field: 0})
