"""Operations on a subset of the scenes of a batch: tensors, or named tuples of tensors, with the scenes on axis 0."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import tensorflow as tf

Structure = TypeVar("Structure", bound=tuple)


def take_scenes(values: Structure, scenes: tf.Tensor) -> Structure:
    """Selects scenes by their indices [S], which may be empty, from (nested) named tuples of tensors [B, ...]."""
    return tf.nest.map_structure(lambda value: tf.gather(value, scenes), values)


def put_scenes(values: Structure, scenes: tf.Tensor, new: Structure) -> Structure:
    """Returns `values` with the scenes of these indices replaced by `new`, the inverse of `take_scenes`."""
    rows = scenes[:, None]
    return tf.nest.map_structure(lambda value, part: tf.tensor_scatter_nd_update(value, rows, part), values, new)


def choose(accept: tf.Tensor, new: Structure, old: Structure) -> Structure:
    """`new` where accept [B] is true, else `old`: tensors [B, ...] or (nested) named tuples of them."""
    return tf.nest.map_structure(
        lambda a, b: tf.where(tf.reshape(accept, [-1] + [1] * (a.shape.rank - 1)), a, b), new, old
    )


def in_groups(
    work: Callable[[tf.Tensor], tf.Tensor], values: tf.Tensor, width: int, size: int | tf.Tensor
) -> tf.Tensor:
    """Applies `work` to `size` scenes at a time. Saves memory where its intermediate results are large.

    `work` maps values [S, ...] to [S, width] float32, each scene independently; the result is [B, width].
    """
    num_scenes = tf.shape(values)[0]
    done = tf.TensorArray(tf.float32, size=-(-num_scenes // size), infer_shape=False, element_shape=[None, width])

    def group(number: tf.Tensor, done: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        return number + 1, done.write(number, work(values[number * size : (number + 1) * size]))

    _, done = tf.while_loop(lambda number, _: number * size < num_scenes, group, (0, done), parallel_iterations=1)
    return done.concat()


def in_halves(work: tf.types.experimental.ConcreteFunction, values: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
    """Applies `work` to both halves of a batch in parallel. Most of its operations are too small to use two cores.

    `work` maps tensors [S, ...] to named tensors [S, ...], each scene independently. A single scene is not divided.
    """
    num_scenes = tf.shape(values[0])[0]
    parts = tf.minimum(num_scenes, 2)
    done = {
        name: tf.TensorArray(spec.dtype, size=parts, infer_shape=False, element_shape=spec.shape)
        for name, spec in work.structured_outputs.items()
    }

    def part(number: tf.Tensor, done: dict[str, tf.TensorArray]) -> tuple[tf.Tensor, dict[str, tf.TensorArray]]:
        first, end = number * num_scenes // parts, (number + 1) * num_scenes // parts
        found = work(*(value[first:end] for value in values))
        return number + 1, {name: array.write(number, found[name]) for name, array in done.items()}

    _, done = tf.while_loop(lambda number, _: number < parts, part, (0, done), parallel_iterations=2)
    return {name: array.concat() for name, array in done.items()}
