"""Working on some scenes of a batch: tensors, or named tuples of them, with the scenes as their first axis."""

from collections.abc import Callable, Sequence
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


def in_groups(
    work: Callable[[tf.Tensor], tf.Tensor], values: tf.Tensor, width: int, size: int | tf.Tensor
) -> tf.Tensor:
    """`work` on `size` scenes at a time, where what it makes on its way is much larger than what comes of it.

    Args:
      work: values of some scenes [S, ...] to float32 [S, width], scene by scene.
      values: [B, ...].
      width: of what comes of a scene.
      size: most scenes at a time.

    Returns:
      [B, width] float32.
    """
    num_scenes = tf.shape(values)[0]
    done = tf.TensorArray(tf.float32, size=-(-num_scenes // size), infer_shape=False, element_shape=[None, width])

    def group(number: tf.Tensor, done: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        return number + 1, done.write(number, work(values[number * size : (number + 1) * size]))

    _, done = tf.while_loop(lambda number, _: number * size < num_scenes, group, (0, done), parallel_iterations=1)
    return done.concat()


def in_halves(work: tf.types.experimental.ConcreteFunction, values: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
    """`work` on both halves of a batch at once: most of its operations are too small to occupy two cores.

    Args:
      work: tensors of some scenes, [S, ...], to tensors by name, [S, ...], scene by scene.
      values: tensors [B, ...], B of at least one; one scene is not divided.
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
