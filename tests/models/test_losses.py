"""Losses against their formulas in complex128."""

import numpy as np
import pytest
import tensorflow as tf

from models.losses import heat_map_loss, peak_contrast_loss, stein_loss, subspace_alignment_loss
from models.physics.config import ShrinkageConfig
from models.physics.covariance import LowRankCovariance, hybrid_covariance
from models.spectrum.mvdr import inverse_quadratic

RNG = np.random.default_rng(6)
SIZE = 10


def complex_normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


def low_rank(factor: np.ndarray, floor: float = 0.05) -> LowRankCovariance:
    return LowRankCovariance(tf.constant(factor, tf.complex64), tf.fill([len(factor)], floor))


def test_stein_loss() -> None:
    predicted, true = low_rank(complex_normal(2, SIZE, 3)), low_rank(complex_normal(2, SIZE, 2))
    found = stein_loss(predicted, true).numpy()
    for scene in range(2):
        loaded = []
        for covariance in (predicted, true):
            dense = covariance.dense().numpy()[scene].astype(np.complex128)
            loaded.append(dense / np.trace(dense).real + 1e-2 / SIZE * np.eye(SIZE))
        ratio = np.linalg.solve(*loaded)
        expected = np.trace(ratio).real - np.linalg.slogdet(ratio)[1] - SIZE
        assert found[scene] == pytest.approx(expected, rel=1e-4)
        assert found[scene] > 0
    np.testing.assert_allclose(stein_loss(true, true), 0.0, atol=1e-4)
    scaled = true._replace(factor=3.0 * true.factor, floor=9.0 * true.floor)
    np.testing.assert_allclose(stein_loss(predicted, scaled), found, rtol=1e-3)


def test_stein_gradient_is_that_of_finite_differences() -> None:
    true = low_rank(complex_normal(1, SIZE, 2))
    factor = complex_normal(1, SIZE, 2)
    scale = tf.Variable([1.0, 0.7], dtype=tf.float32)

    def loss() -> tf.Tensor:
        columns = tf.constant(factor, tf.complex64) * tf.cast(scale, tf.complex64)
        return stein_loss(LowRankCovariance(columns, tf.constant([0.05])), true)[0]

    with tf.GradientTape() as tape:
        value = loss()
    slope = tape.gradient(value, scale).numpy()
    for entry in range(2):
        ends = []
        for step in (1e-2, -1e-2):
            scale.assign_add(step * tf.one_hot(entry, 2))
            ends.append(float(loss()))
            scale.assign_sub(step * tf.one_hot(entry, 2))
        assert slope[entry] == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=2e-2, abs=1e-2)


def test_subspace_alignment_is_the_energy_outside_the_span() -> None:
    predicted = complex_normal(2, SIZE, 3)
    directions = complex_normal(2, SIZE, 4)
    directions[..., 3] = 0.0
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    found = subspace_alignment_loss(low_rank(predicted), tf.constant(directions, tf.complex64)).numpy()
    for scene in range(2):
        basis = directions[scene][:, :3]
        outside = predicted[scene] - basis @ np.linalg.pinv(basis) @ predicted[scene]
        expected = np.linalg.norm(outside) ** 2 / np.linalg.norm(predicted[scene]) ** 2
        assert found[scene] == pytest.approx(expected, abs=2e-3)
    inside = low_rank(directions[..., :3] @ complex_normal(2, 3, 2))
    assert np.all(subspace_alignment_loss(inside, tf.constant(directions, tf.complex64)) < 1e-3)


def test_heat_map_is_a_cross_entropy() -> None:
    gamma, target = RNG.random((2, 20)), RNG.random((2, 20))
    target /= target.sum(axis=1, keepdims=True)
    share = np.sqrt(gamma) / np.sqrt(gamma).sum(axis=1, keepdims=True)
    expected = -(target * np.log(share)).sum(axis=1)
    found = heat_map_loss(tf.constant(gamma, tf.float32), tf.constant(target, tf.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_peak_contrast_prefers_the_true_covariance_to_a_white_one() -> None:
    source, grid = complex_normal(1, SIZE, 1), complex_normal(1, SIZE, 30)
    source, grid = (tf.constant(x / np.linalg.norm(x, axis=1, keepdims=True), tf.complex64) for x in (source, grid))

    def contrast(covariance: LowRankCovariance) -> float:
        used = tf.constant([[True]])
        inverse = [inverse_quadratic(covariance, vectors) for vectors in (source, grid)]
        return float(peak_contrast_loss(inverse[0], used, inverse[1])[0])

    sharp = LowRankCovariance(source, tf.constant([0.01]))
    white = LowRankCovariance(0.0 * source, tf.constant([1.0]))
    assert contrast(white) == pytest.approx(0.0, abs=1e-4)
    assert contrast(sharp) < -1.0


def test_hybrid_covariance_warns_where_r_samp_is_rank_deficient(recwarn) -> None:
    root = complex_normal(1, SIZE, SIZE)
    predicted, sampled = np.eye(SIZE)[None] + 0j, root @ root.conj().swapaxes(1, 2)
    with pytest.warns(UserWarning, match=r"M = 4 < N = 10"):
        mixed = hybrid_covariance(tf.constant(predicted), tf.constant(sampled), 0.25, num_antennas=4).numpy()
    expected = 0.75 * np.eye(SIZE) + 0.25 * sampled[0] * SIZE / np.trace(sampled[0]).real
    np.testing.assert_allclose(mixed[0], expected, rtol=1e-9, atol=1e-12)
    recwarn.clear()
    alone = hybrid_covariance(tf.constant(predicted), tf.constant(sampled), 0.0, num_antennas=4)
    hybrid_covariance(tf.constant(predicted), tf.constant(sampled), 0.5, num_antennas=SIZE)
    np.testing.assert_allclose(alone[0], np.eye(SIZE), atol=1e-12)
    assert not recwarn.list
    with pytest.raises(ValueError, match="beta: expected a number"):
        hybrid_covariance(tf.constant(predicted), tf.constant(sampled), 1.5, num_antennas=4)


def test_shrinkage_refusals() -> None:
    with pytest.raises(ValueError, match=r"ShrinkageConfig\.base_alpha: expected a positive number, got 0"):
        ShrinkageConfig(base_alpha=0.0)
    with pytest.raises(ValueError, match=r"ShrinkageConfig\.min_alpha: expected at most max_alpha"):
        ShrinkageConfig(min_alpha=0.3, max_alpha=0.2)
