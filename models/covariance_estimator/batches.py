"""Working on some scenes of a batch: named tuples of tensors with the scenes as their first axis."""

from typing import TypeVar

import tensorflow as tf

Structure = TypeVar("Structure", bound=tuple)


def take_scenes(values: Structure, scenes: tf.Tensor) -> Structure:
    """The scenes of those numbers.

    Args:
      values: a (nested) named tuple of tensors [B, ...].
      scenes: [S] int, may be empty.
    """
    return tf.nest.map_structure(lambda value: tf.gather(value, scenes), values)


def put_scenes(values: Structure, scenes: tf.Tensor, new: Structure) -> Structure:
    """`values` with the scenes of those numbers replaced; `new` is what `take_scenes` would give."""
    rows = scenes[:, None]
    return tf.nest.map_structure(lambda value, part: tf.tensor_scatter_nd_update(value, rows, part), values, new)


def choose(accept: tf.Tensor, new: Structure, old: Structure) -> Structure:
    """`new` where accept [B], else `old`: a tensor [B, ...] or a (nested) named tuple of them."""
    return tf.nest.map_structure(
        lambda a, b: tf.where(tf.reshape(accept, [-1] + [1] * (a.shape.rank - 1)), a, b), new, old
    )
