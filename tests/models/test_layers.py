"""`in_turn` equals the layers applied one after the other."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.layers import build_in_turn, in_turn


@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 5), (2, 3, 4, 5), (0, 4, 5)])
def test_rows_go_through_as_whole_tensors_do(shape: tuple[int, ...]) -> None:
    layers = [keras.layers.Dense(7, "gelu"), keras.layers.Dense(2)]
    build_in_turn(layers, shape)
    values = tf.constant(np.random.default_rng(1).normal(size=shape), tf.float32)
    expected = layers[1](layers[0](values))
    found = tf.function(lambda given: in_turn(layers, given), [tf.TensorSpec([None, *shape[1:]])])(values)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-6)
