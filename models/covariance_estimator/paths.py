"""The propagation paths of the sources of one scene."""

from typing import NamedTuple

import tensorflow as tf

from models.covariance_estimator.atoms import PARAMETERS_PER_ATOM, Atoms
from models.physics.geometry import RISArray
from models.physics.steering import steering_vectors

PARAMETERS_PER_PATH = 5
_ANYWHERE = 0.1  # parameters of an empty slot


class Paths(NamedTuple):
    """P propagation paths of A sources of one scene: the direct path of each source first, then reflected ones.

    All paths of a source carry the same symbols. A scene without sources has no paths.

    parameters: [P, 5] float32: azimuth, elevation (radians), inverse range (1/m) of the source or its image, log power,
      and phase relative to the direct path (radians), which is zero for direct paths.
    source: index of the direct path of the same source, its own for a direct path, [P] int32.
    noise_power: sigma^2, [] float32. A mismatched channel raises it above the receiver's noise power.
    """

    parameters: tf.Tensor
    source: tf.Tensor
    noise_power: tf.Tensor

    @property
    def count(self) -> tf.Tensor:
        """P, [] int32."""
        return tf.size(self.source)

    @property
    def num_sources(self) -> tf.Tensor:
        """A, [] int32."""
        return tf.math.count_nonzero(self.source == tf.range(self.count), dtype=tf.int32)

    def membership(self) -> tf.Tensor:
        """One if a reflected path belongs to a source, else zero: [P - A, A] float32."""
        num_sources = self.num_sources
        return tf.one_hot(self.source[num_sources:], num_sources)

    def steering(self, array: RISArray) -> tf.Tensor:
        """Steering vectors, [P, N] complex64."""
        azimuth, elevation, inverse_range, _, _ = tf.unstack(self.parameters, axis=-1)
        return steering_vectors(azimuth, elevation, inverse_range, array)

    def amplitudes(self) -> tf.Tensor:
        """sqrt(gamma) exp(j phase), [P] complex64."""
        return tf.exp(tf.complex(0.5 * self.parameters[:, 3], self.parameters[:, 4]))

    def select(self, keep: tf.Tensor) -> "Paths":
        """Keeps some paths, in the same order: keep [P] bool. A kept path needs its direct path."""
        kept = tf.where(keep)[:, 0]
        new_index = tf.cumsum(tf.cast(keep, tf.int32)) - 1
        source = tf.gather(new_index, tf.gather(self.source, kept))
        return Paths(tf.gather(self.parameters, kept), source, self.noise_power)

    def with_source(self, parameters: tf.Tensor) -> "Paths":
        """Adds a source with a direct path only; its parameters are [4], as in `Atoms`."""
        num_sources = self.num_sources
        new = tf.pad(parameters, [[0, 1]])[None]
        before, after = self.parameters[:num_sources], self.parameters[num_sources:]
        source = tf.concat([tf.range(num_sources + 1), self.source[num_sources:]], axis=0)
        return Paths(tf.concat([before, new, after], axis=0), source, self.noise_power)

    def atoms(self, slots: int | tf.Tensor | None) -> Atoms:
        """The direct paths as atoms with B = 1, in `slots` slots or in as many as there are."""
        num_sources = self.num_sources
        parameters = self.parameters[:num_sources][:, :PARAMETERS_PER_ATOM]
        if slots is not None:
            num_sources = tf.minimum(num_sources, slots)
            spare = [[0, slots - num_sources], [0, 0]]
            parameters = tf.pad(parameters[:num_sources], spare, constant_values=_ANYWHERE)
            parameters = tf.reshape(parameters, [slots, PARAMETERS_PER_ATOM])
        return Atoms(parameters[None], tf.sequence_mask([num_sources], slots), self.noise_power[None])


def path_specs() -> Paths:
    """Specs of the tensors of `Paths`; P is free."""
    return Paths(
        tf.TensorSpec([None, PARAMETERS_PER_PATH], tf.float32, "parameters"),
        tf.TensorSpec([None], tf.int32, "source"),
        tf.TensorSpec([], tf.float32, "noise_power"),
    )


def direct_paths(parameters: tf.Tensor, active: tf.Tensor, noise_power: tf.Tensor) -> Paths:
    """The atoms of one scene as sources without reflections: parameters [A, 4], active [A] bool, noise_power []."""
    parameters = tf.pad(tf.boolean_mask(parameters, active), [[0, 0], [0, 1]])
    return Paths(parameters, tf.range(tf.shape(parameters)[0]), noise_power)
