"""What the estimator works on: a scene's measurement, free of the receiver's gain and of the channel's scale."""

from typing import NamedTuple

import tensorflow as tf

_LEAST_NOISE_POWER = 1e-5  # 50 dB below the received power


class Observation(NamedTuple):
    """A batch of scenes, normalised. Powers are then shares of the received power.

    snapshots: y_l, [B, L, M] complex64, unit RMS a scene.
    ris_codes: c_l, [B, L, N] complex64.
    channel: H, [B, M, N] complex64, scaled to mean_m |h_m|^2 = N, so that a source of power p delivers about p.
    operator: Phi_l = H diag(c_l), [B, L, M, N] complex64.
    rows: [Re Phi, Im Phi] stacked over snapshots and antennas, [B, L M, 2N] float32.
    noise_power: sigma^2 by the reported SNR, [B] float32.
    """

    snapshots: tf.Tensor
    ris_codes: tf.Tensor
    channel: tf.Tensor
    operator: tf.Tensor
    rows: tf.Tensor
    noise_power: tf.Tensor

    def respond(self, vectors: tf.Tensor) -> tf.Tensor:
        """Phi_l x_j for every snapshot: x [B, N, J] -> [B, L, M, J], as one real product."""
        shape = tf.shape(self.operator)
        real, imag = tf.math.real(vectors), tf.math.imag(vectors)
        embedded = tf.concat([tf.concat([real, imag], -1), tf.concat([-imag, real], -1)], -2)
        parts = tf.split(tf.matmul(self.rows, embedded), 2, axis=-1)
        return tf.reshape(tf.complex(*parts), [shape[0], shape[1], shape[2], vectors.shape[-1]])


def _unit_rms(values: tf.Tensor) -> tf.Tensor:
    """Scales each scene to unit RMS; by the largest modulus first, so that no scale over- or underflows."""
    axes = list(range(1, values.shape.rank))
    magnitude = tf.abs(values)
    largest = tf.reduce_max(magnitude, axis=axes, keepdims=True)
    largest = tf.where(largest > 0, largest, tf.ones_like(largest))
    rms = tf.sqrt(tf.reduce_mean((magnitude / largest) ** 2, axis=axes, keepdims=True))
    rms = tf.where(rms > 0, rms, tf.ones_like(rms))
    return values / tf.cast(largest, values.dtype) / tf.cast(rms, values.dtype)


def observe(snapshots: tf.Tensor, ris_codes: tf.Tensor, channel: tf.Tensor, snr_db: tf.Tensor) -> Observation:
    """Normalises a measurement.

    Args:
      snapshots: [B, L, M] complex64, any scale.
      ris_codes: [B, L, N] complex64.
      channel: [B, M, N] complex64, any scale.
      snr_db: [B] float32, mean |y without noise|^2 / sigma^2, dB.

    Returns:
      The observation; sigma^2 = 1 / (1 + SNR) since the received power is one, as far down as float32 carries.
    """
    channel = _unit_rms(channel)
    operator = channel[:, None] * ris_codes[:, :, None]
    shape = tf.shape(operator)
    stacked = tf.reshape(operator, [shape[0], shape[1] * shape[2], operator.shape[-1]])
    return Observation(
        snapshots=_unit_rms(snapshots),
        ris_codes=ris_codes,
        channel=channel,
        operator=operator,
        rows=tf.concat([tf.math.real(stacked), tf.math.imag(stacked)], axis=-1),
        noise_power=tf.maximum(1.0 / (1.0 + 10.0 ** (snr_db / 10.0)), _LEAST_NOISE_POWER),
    )
