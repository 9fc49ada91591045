"""Slots of atoms. Scenes that use few slots are solved as smaller systems."""

import tensorflow as tf

from models.covariance_estimator.likelihood import PARAMETERS_PER_ATOM, Atoms, Evaluation

_ANYWHERE = 0.1  # parameters of an empty slot


def active_first(atoms: Atoms) -> Atoms:
    """Moves the active atoms to the first slots."""
    order = tf.argsort(tf.cast(atoms.active, tf.int32), direction="DESCENDING", stable=True)
    parameters, active = (tf.gather(values, order, batch_dims=1) for values in (atoms.parameters, atoms.active))
    return Atoms(parameters, active, atoms.noise_power)


def with_spare_slots(atoms: Atoms, count: int) -> Atoms:
    """Adds `count` empty slots."""
    spare = [[0, 0], [0, count]]
    parameters = tf.pad(atoms.parameters, [*spare, [0, 0]], constant_values=_ANYWHERE)
    return Atoms(parameters, tf.pad(atoms.active, spare), atoms.noise_power)


def used_slots(active: tf.Tensor) -> tf.Tensor:
    """Number of leading slots that contain all active atoms, at least one: [B, A] bool -> [B] int32."""
    slots = tf.range(1, active.shape[-1] + 1)
    return tf.maximum(tf.reduce_max(tf.where(active, slots, 0), axis=-1), 1)


def first_slots(atoms: Atoms, count: tf.Tensor) -> Atoms:
    """The atoms in the first `count` slots."""
    return Atoms(atoms.parameters[:, :count], atoms.active[:, :count], atoms.noise_power)


def with_rest_of(atoms: Atoms, whole: Atoms) -> Atoms:
    """`whole` with its first slots replaced by `atoms`."""
    count = tf.shape(atoms.active)[-1]
    parameters = tf.concat([atoms.parameters, whole.parameters[:, count:]], axis=1)
    return Atoms(parameters, tf.concat([atoms.active, whole.active[:, count:]], axis=1), atoms.noise_power)


def with_slots(evaluation: Evaluation, count: tf.Tensor | int) -> Evaluation:
    """Resizes an evaluation to `count` slots. Drops later slots and adds empty ones."""
    old = tf.shape(evaluation.llr)[-1]
    more = tf.maximum(count - old, 0)
    per_parameter = [-1, PARAMETERS_PER_ATOM, old]
    gradient = tf.reshape(evaluation.gradient, per_parameter)[..., :count]
    fisher = tf.reshape(evaluation.fisher, [*per_parameter, PARAMETERS_PER_ATOM, old])[:, :, :count, :, :count]
    gradient = tf.pad(gradient, [[0, 0], [0, 0], [0, more]])
    fisher = tf.pad(fisher, [[0, 0], [0, 0], [0, more], [0, 0], [0, more]])
    size = PARAMETERS_PER_ATOM * count
    return evaluation._replace(
        gradient=tf.reshape(gradient, [-1, size]),
        fisher=tf.reshape(fisher, [-1, size, size]),
        llr=tf.pad(evaluation.llr[:, :count], [[0, 0], [0, more]]),
    )
