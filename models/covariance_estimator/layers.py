"""What the small networks of all floors are put together with."""

from collections.abc import Sequence

import keras


def build_in_turn(layers: Sequence[keras.layers.Layer], input_shape: Sequence[int | None]) -> None:
    """Builds layers of which each reads the one before, the first `input_shape`."""
    shape = tuple(input_shape)
    for layer in layers:
        layer.build(shape)
        shape = layer.compute_output_shape(shape)
