"""Covariance settings: rejected values and limiting cases."""

import math
import warnings

import numpy as np
import pytest
import tensorflow as tf

from models.physics.config import ShrinkageConfig
from models.physics.covariance import hybrid_covariance, shrinkage_coefficient


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"base_alpha": -1e-3}, "base_alpha"),
        ({"base_alpha": math.nan}, "base_alpha"),
        ({"min_alpha": 0.0}, "min_alpha"),
        ({"max_alpha": 1.0}, "max_alpha"),
    ],
)
def test_refused_shrinkage(settings: dict[str, float], field: str) -> None:
    with pytest.raises(ValueError, match=f"ShrinkageConfig.{field}: expected"):
        ShrinkageConfig(**settings)


@pytest.mark.parametrize(("base_alpha", "expected"), [(1e-7, 1e-4), (1e-3, 0.05), (10.0, 0.25)])
def test_coefficient_is_scaled_by_the_base_and_clipped(base_alpha: float, expected: float) -> None:
    alpha = shrinkage_coefficient(tf.constant([0.0]), tf.constant(64), ShrinkageConfig(base_alpha=base_alpha))
    np.testing.assert_allclose(alpha, [expected], rtol=1e-6)


@pytest.mark.parametrize("beta", [-0.1, 1.1, math.nan])
def test_refused_weight_of_the_sample_covariance(beta: float) -> None:
    identity = tf.eye(4, batch_shape=[1], dtype=tf.complex64)
    with pytest.raises(ValueError, match="beta: expected a number in"):
        hybrid_covariance(identity, identity, beta, num_antennas=4)


def test_ends_of_the_mix_are_its_parts_without_a_warning_at_full_rank() -> None:
    rng = np.random.default_rng(2)
    roots = rng.normal(size=(2, 1, 4, 4, 2)) @ [1, 1j]
    parts = roots @ roots.conj().swapaxes(-1, -2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ends = [hybrid_covariance(*(tf.constant(part) for part in parts), beta, num_antennas=4) for beta in (0.0, 1.0)]
    for end, part in zip(ends, parts, strict=True):
        np.testing.assert_allclose(end[0], 4 * part[0] / np.trace(part[0]).real, rtol=1e-12, atol=1e-12)
