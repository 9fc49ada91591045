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
    tensor of three or more axes. The size of one axis may be free.
    """
    rows = tf.reshape(values, [-1, values.shape[-1]])
    for layer in layers:
        rows = layer(rows)
    sizes = [-1 if size is None else size for size in values.shape[:-1]]
    return tf.reshape(rows, [*sizes, rows.shape[-1]])
