"""Off-grid atoms of a batch of scenes: the sources in R_pred, in a fixed number of slots."""

from typing import NamedTuple

import tensorflow as tf

from models.physics.geometry import RISArray
from models.physics.steering import steering_vectors

PARAMETERS_PER_ATOM = 4


class Atoms(NamedTuple):
    """Off-grid atoms of a batch of scenes.

    parameters: [B, A, 4] float32: azimuth, elevation (radians), inverse range (1/m), log power in the normalised scene.
    active: [B, A] bool; the parameters of an inactive atom are undefined.
    noise_power: sigma^2, [B] float32. A mismatched channel raises it above the receiver's noise power.
    """

    parameters: tf.Tensor
    active: tf.Tensor
    noise_power: tf.Tensor

    def powers(self) -> tf.Tensor:
        """Powers, [B, A] float32; zero if inactive."""
        return tf.where(self.active, tf.exp(self.parameters[..., 3]), 0.0)

    def steering(self, array: RISArray) -> tf.Tensor:
        """Steering vectors, [B, N, A] complex64."""
        azimuth, elevation, inverse_range, _ = tf.unstack(self.parameters, axis=-1)
        return tf.linalg.matrix_transpose(steering_vectors(azimuth, elevation, inverse_range, array))


class AtomEvaluation(NamedTuple):
    """The likelihood as a function of the atoms of a batch; everything else is a nuisance parameter.

    llr: log-likelihood ratio of each atom, [B, A] float32.
    fisher: Fisher information, [B, 4A, 4A] float32, all azimuths first; rows of inactive atoms are zero.
    """

    llr: tf.Tensor
    fisher: tf.Tensor


def atom_specs(slots: int | None) -> Atoms:
    """Specs of the tensors of `Atoms` with `slots` atoms per scene, None for any number; B is free."""
    return Atoms(
        tf.TensorSpec([None, slots, PARAMETERS_PER_ATOM], tf.float32, "parameters"),
        tf.TensorSpec([None, slots], tf.bool, "active"),
        tf.TensorSpec([None], tf.float32, "noise_power"),
    )
