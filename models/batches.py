"""Work on parts of a batch."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

_SCENES_AT_ONCE = 2


def scene_by_scene(work: Callable[[Any], Any], scenes: Any, signature: Any) -> Any:
    """Applies `work` to every scene of a batch, a few scenes in parallel, and stacks the results.

    Most operations of the estimator are too small to use several cores, and the number of sources differs from scene to
    scene. One scene at a time needs no masks, and memory for a few scenes only.

    Args:
      work: maps a structure of tensors of one scene to another.
      scenes: structure of tensors with the scenes on axis 0.
      signature: specs of the results of one scene.
    """
    return tf.map_fn(work, scenes, fn_output_signature=signature, parallel_iterations=_SCENES_AT_ONCE)


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
