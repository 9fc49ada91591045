"""R_eff, the MVDR spectrum and the untrained backbone against slow NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from models.config import LossConfig
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import BackboneConfig, GridConfig
from models.physics.config import ShrinkageConfig
from models.physics.covariance import LowRankCovariance, effective_covariance, effective_low_rank
from models.physics.geometry import RISArray, Scenario
from models.physics.observation import observe
from models.spectrum.mvdr import MVDR, inverse_quadratic

RNG = np.random.default_rng(3)
FACTORS = {20.0: 0.02, 15.0: 0.02, 14.9: 0.04, 8.0: 0.04, 5.0: 0.07, 0.0: 0.10, -2.0: 0.10, -3.0: 0.14}


def complex_normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


@pytest.mark.promise("R_eff")
@pytest.mark.parametrize("num_snapshots", [16, 64])
def test_effective_covariance_equals_its_definition(num_snapshots: int) -> None:
    size = 12
    snr_db = np.array(list(FACTORS))
    given = complex_normal(len(snr_db), size, size)
    given = given @ given.conj().transpose(0, 2, 1) + 0.1 * complex_normal(len(snr_db), size, size)
    found = effective_covariance(tf.constant(given), tf.constant(snr_db), tf.constant(num_snapshots)).numpy()
    for one, matrix, factor in zip(found, given, FACTORS.values(), strict=True):
        alpha = np.clip(factor * np.sqrt(16 / num_snapshots), 1e-4, 0.25)
        hermitian = (matrix + matrix.conj().T) / 2
        hermitian *= size / np.trace(hermitian).real
        expected = (1 - alpha) * hermitian + alpha * np.trace(hermitian).real / size * np.eye(size)
        np.testing.assert_allclose(one, expected, atol=1e-6)
        np.testing.assert_allclose(np.trace(one).real, size, rtol=1e-6)


def test_low_rank_twin_is_the_same() -> None:
    factor, floor = complex_normal(3, 10, 2), np.array([0.1, 0.2, 0.3])
    covariance = LowRankCovariance(tf.constant(factor), tf.constant(floor))
    snr_db = tf.constant([-5.0, 5.0, 18.0], tf.float64)
    config = ShrinkageConfig(base_alpha=4e-3)
    dense = effective_covariance(covariance.dense(), snr_db, tf.constant(64), config)
    np.testing.assert_allclose(
        effective_low_rank(covariance, snr_db, tf.constant(64), config).dense(), dense, atol=1e-12
    )


@pytest.mark.promise("MVDR")
def test_both_routes_of_mvdr_equal_the_inverse() -> None:
    array, grid = RISArray(4, 4), GridConfig(5, 4, 3)
    layer = MVDR(array, grid=grid)
    covariance = LowRankCovariance(
        tf.constant(complex_normal(2, 16, 3), tf.complex64), tf.constant([0.05, 0.2], tf.float32)
    )
    dense = covariance.dense()
    vectors = layer.dictionary.vectors.numpy().astype(np.complex128)
    inverse = np.linalg.inv(dense.numpy().astype(np.complex128))
    expected = 1 / np.einsum("gn,bnm,gm->bg", vectors.conj(), inverse, vectors).real
    for form in (covariance, dense):
        np.testing.assert_allclose(tf.reshape(layer(form), [2, -1]), expected, rtol=2e-4)
        points = tf.linalg.matrix_transpose(layer.dictionary.vectors)
        np.testing.assert_allclose(1 / inverse_quadratic(form, points), expected, rtol=2e-4)
    again = MVDR.from_config(layer.get_config())
    np.testing.assert_array_equal(again(dense), layer(dense))


def reference_fixed_point(observation, vectors: np.ndarray, stages: int) -> np.ndarray:
    """gamma <- gamma v / q of one scene in complex128, with every grid point in R."""
    operator = observation.operator[0].numpy().astype(np.complex128)
    snapshots = observation.snapshots[0].numpy().astype(np.complex128)
    noise = float(observation.noise_power[0])
    gamma = np.full(len(vectors), (1 - noise) / len(vectors))
    for stage in range(stages):
        spread = np.eye(vectors.shape[1]) * gamma.sum() / vectors.shape[1]
        covariance = spread if stage == 0 else vectors.T @ np.diag(gamma) @ vectors.conj()
        v, q = np.zeros_like(gamma), np.zeros_like(gamma)
        for phi, y in zip(operator, snapshots, strict=True):
            inverse = np.linalg.inv(phi @ covariance @ phi.conj().T + noise * np.eye(len(phi)))
            response = phi @ vectors.T
            v += np.abs(response.conj().T @ inverse @ y) ** 2 / len(operator)
            q += np.einsum("mg,mk,kg->g", response.conj(), inverse, response).real / len(operator)
        gamma = gamma * v / q
    return gamma


@pytest.mark.promise("untrained")
def test_the_untrained_backbone_is_the_classical_fixed_point() -> None:
    array, grid = RISArray(4, 4), GridConfig(5, 4, 3)
    backbone = Backbone(Scenario(array=array), BackboneConfig(stages=3, active_atoms=grid.size, grid=grid))
    snapshots, codes = complex_normal(1, 8, 6), np.exp(2j * np.pi * RNG.random((1, 8, 16)))
    measurement = [tf.constant(x, tf.complex64) for x in (snapshots, codes, complex_normal(1, 6, 16))]
    observation = observe(*measurement, tf.constant([5.0]))
    expected = reference_fixed_point(observation, backbone.dictionary.vectors.numpy().astype(np.complex128), stages=3)
    np.testing.assert_allclose(backbone.grid_stages(observation)[-1].gamma[0], expected, rtol=1e-4, atol=1e-9)


def test_gap_and_margin_are_refused_with_the_reason() -> None:
    for name in ("gap", "margin"):
        with pytest.raises(ValueError, match=f"LossConfig.{name}: expected 0.*eigenvalues"):
            LossConfig(**{name: 0.1})
