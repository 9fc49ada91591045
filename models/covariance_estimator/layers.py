"""What the small networks of all floors are put together with."""

from collections.abc import Sequence

import keras
import tensorflow as tf


def build_in_turn(layers: Sequence[keras.layers.Layer], input_shape: Sequence[int | None]) -> None:
    """Builds layers of which each reads the one before, the first `input_shape`."""
    shape = tuple(input_shape)
    for layer in layers:
        layer.build(shape)
        shape = layer.compute_output_shape(shape)


def in_turn(layers: Sequence[keras.layers.Dense], values: tf.Tensor) -> tf.Tensor:
    """Dense layers of which each reads the one before, [B, ..., I] -> [B, ..., O]: one product of rows a layer, where
    Keras takes a dozen operations to multiply tensors of three axes and more. All axes but the first are known."""
    rows = tf.reshape(values, [-1, values.shape[-1]])
    for layer in layers:
        rows = layer(rows)
    return tf.reshape(rows, [-1, *values.shape[1:-1], rows.shape[-1]])
