"""Helpers that build and apply the small networks."""

from collections.abc import Sequence

import keras
import tensorflow as tf


def build_in_turn(layers: Sequence[keras.layers.Layer], input_shape: Sequence[int | None]) -> None:
    """Builds a chain of layers: the first from `input_shape`, each other from the output shape of its predecessor."""
    shape = tuple(input_shape)
    for layer in layers:
        layer.build(shape)
        shape = layer.compute_output_shape(shape)


def in_turn(layers: Sequence[keras.layers.Dense], values: tf.Tensor) -> tf.Tensor:
    """Applies a chain of dense layers, [B, ..., I] -> [B, ..., O].

    Flattens the input to rows, so that each layer is one matrix product. Keras itself uses a dozen operations for a
    tensor of three or more axes. All axes except the first must be static.
    """
    rows = tf.reshape(values, [-1, values.shape[-1]])
    for layer in layers:
        rows = layer(rows)
    return tf.reshape(rows, [-1, *values.shape[1:-1], rows.shape[-1]])
