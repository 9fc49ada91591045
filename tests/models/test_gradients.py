"""Gradients through MVDR and the Stein loss equal derivatives in complex128, and are finite in degenerate cases."""

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.config import GridConfig
from models.losses import peak_contrast_loss, stein_loss, subspace_alignment_loss
from models.physics.covariance import LowRankCovariance
from models.physics.geometry import RISArray
from models.spectrum.mvdr import MVDR, inverse_quadratic
from tests.references.mvdr import spectrum_slope

SIZE, FLOOR = 16, 0.3


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture(scope="module")
def mvdr() -> MVDR:
    return MVDR(RISArray(4, 4), grid=GridConfig(5, 4, 3))


def complex_normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=(*shape, 2)) @ [1, 1j] / np.sqrt(2)


def along(gradient: tf.Tensor, direction: np.ndarray) -> float:
    """Change of a real function along a direction. TensorFlow's gradient is d/dRe + j d/dIm."""
    return np.sum(gradient.numpy().conj() * direction).real


def test_mvdr_of_a_dense_covariance(mvdr: MVDR, rng) -> None:
    root, direction = complex_normal(rng, SIZE, SIZE), complex_normal(rng, SIZE, SIZE)
    covariance = root @ root.conj().T / SIZE + FLOOR * np.eye(SIZE)
    direction = direction + direction.conj().T
    weight = rng.normal(size=mvdr.grid.shape)
    given = tf.constant(covariance[None], tf.complex64)
    with tf.GradientTape() as tape:
        tape.watch(given)
        value = tf.reduce_sum(mvdr(given) * tf.constant(weight, tf.float32))
    slope = spectrum_slope(covariance, direction, mvdr.dictionary.vectors.numpy().astype(np.complex128))
    expected = np.sum(weight.ravel() * slope)
    assert along(tape.gradient(value, given)[0], direction) == pytest.approx(expected, rel=1e-3)


def test_mvdr_of_a_low_rank_covariance(mvdr: MVDR, rng) -> None:
    factor, direction = complex_normal(rng, SIZE, 3), complex_normal(rng, SIZE, 3)
    weight = rng.normal(size=mvdr.grid.shape)
    given = LowRankCovariance(tf.constant(factor[None], tf.complex64), tf.constant([FLOOR]))
    with tf.GradientTape() as tape:
        tape.watch(given)
        value = tf.reduce_sum(mvdr(given) * tf.constant(weight, tf.float32))
    by_factor, by_floor = tape.gradient(value, given)
    covariance = factor @ factor.conj().T + FLOOR * np.eye(SIZE)
    vectors = mvdr.dictionary.vectors.numpy().astype(np.complex128)
    change = direction @ factor.conj().T
    expected = np.sum(weight.ravel() * spectrum_slope(covariance, change + change.conj().T, vectors))
    assert along(by_factor[0], direction) == pytest.approx(expected, rel=2e-3)
    expected = np.sum(weight.ravel() * spectrum_slope(covariance, np.eye(SIZE), vectors))
    assert float(by_floor[0]) == pytest.approx(expected, rel=2e-3)


def stein(factor: np.ndarray, true: np.ndarray) -> float:
    """The loss of R = U U^H + FLOOR I against a loaded true covariance."""
    dense = factor @ factor.conj().T + FLOOR * np.eye(SIZE)
    ratio = np.linalg.solve(dense / np.trace(dense).real + 1e-2 / SIZE * np.eye(SIZE), true)
    return np.trace(ratio).real - np.linalg.slogdet(ratio)[1] - SIZE


def test_stein_loss_along_any_complex_direction(rng) -> None:
    factor, true_factor = complex_normal(rng, SIZE, 2), complex_normal(rng, SIZE, 2)
    true = true_factor @ true_factor.conj().T + FLOOR * np.eye(SIZE)
    loaded = true / np.trace(true).real + 1e-2 / SIZE * np.eye(SIZE)
    given = tf.constant(factor[None])
    floor = tf.constant([FLOOR], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(given)
        value = stein_loss(LowRankCovariance(given, floor), LowRankCovariance(tf.constant(true_factor[None]), floor))
    gradient = tape.gradient(value, given)[0]
    for _ in range(3):
        direction = complex_normal(rng, SIZE, 2)
        step = 1e-5 * direction
        expected = (stein(factor + step, loaded) - stein(factor - step, loaded)) / 2e-5
        assert along(gradient, direction) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_gradients_are_finite_at_equal_eigenvalues_and_unused_columns(mvdr: MVDR, rng) -> None:
    """Two orthogonal atoms of equal power and an unused one, where gradients through eigenvectors are undefined."""
    basis = np.linalg.qr(complex_normal(rng, SIZE, 2))[0]
    factor = tf.constant(np.column_stack([basis, np.zeros(SIZE)])[None], tf.complex64)
    true = LowRankCovariance(tf.constant(basis[None], tf.complex64), tf.zeros([1]))
    with tf.GradientTape() as tape:
        tape.watch(factor)
        predicted = LowRankCovariance(factor, tf.constant([1e-4]))
        inverse = [inverse_quadratic(predicted, x) for x in (true.factor, tf.transpose(mvdr.dictionary.vectors))]
        losses = [
            stein_loss(predicted, true),
            subspace_alignment_loss(predicted, true.factor),
            peak_contrast_loss(inverse[0], tf.constant([[True, True]]), inverse[1]),
        ]
        total = tf.add_n(losses)
    assert np.all(np.isfinite(tape.gradient(total, factor)))
