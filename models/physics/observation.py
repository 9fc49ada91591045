"""The normalised measurement: independent of the receiver's gain and of the scale of the channel."""

from typing import NamedTuple

import tensorflow as tf

_LEAST_NOISE_POWER = 1e-5  # 50 dB below the received power


class Observation(NamedTuple):
    """A batch of normalised scenes. Powers are relative to the received power.

    snapshots: y_l, [B, L, M] complex64, unit RMS in each scene.
    ris_codes: c_l, [B, L, N] complex64.
    channel: H, [B, M, N] complex64, scaled to mean_m |h_m|^2 = N, so that a source of power p delivers about p.
    rows: the sensing matrices Phi_l = H diag(c_l) as real rows [Re Phi, Im Phi], stacked over snapshots and antennas,
      [B, L M, 2N] float32.
    noise_power: sigma^2 from the reported SNR, [B] float32.
    """

    snapshots: tf.Tensor
    ris_codes: tf.Tensor
    channel: tf.Tensor
    rows: tf.Tensor
    noise_power: tf.Tensor

    @property
    def operator(self) -> tf.Tensor:
        """The sensing matrices Phi_l, [B, L, M, N] complex64. Computed on each access and large; for checks."""
        return self.channel[:, None] * self.ris_codes[:, :, None]

    def respond(self, vectors: tf.Tensor) -> tf.Tensor:
        """Phi_l x_j for every snapshot, as one real product: x [B, N, J] -> [B, L, M, J]. Has no gradient."""
        num_snapshots, num_antennas = tf.shape(self.snapshots)[1], self.channel.shape[1]
        shape = tf.shape(vectors)
        embedded = tf.concat([tf.bitcast(vectors, tf.float32), tf.bitcast(1j * vectors, tf.float32)], axis=1)
        products = tf.matmul(self.rows, tf.reshape(embedded, [shape[0], 2 * vectors.shape[1], 2 * shape[2]]))
        products = tf.reshape(products, [shape[0], num_snapshots, num_antennas, shape[2], 2])
        return tf.bitcast(products, tf.complex64)

    def back_project(self, values: tf.Tensor) -> tf.Tensor:
        """Phi_l^H x_l, as one product with H: x [B, L, M] -> [B, L, N]."""
        return tf.math.conj(tf.matmul(tf.math.conj(values), self.channel) * self.ris_codes)

    def back_project_all(self, values: tf.Tensor) -> tf.Tensor:
        """sum_l Phi_l^H x_lj, as one real product: x [B, L, M, J] -> [B, N, J]."""
        num_elements, count = self.channel.shape[-1], values.shape[-1]
        flat = tf.reshape(values, [tf.shape(values)[0], -1, count])
        parts = tf.concat([tf.math.real(flat), tf.math.imag(flat)], axis=-1)
        products = tf.matmul(self.rows, parts, transpose_a=True)
        by_real, by_imag = products[:, :num_elements], products[:, num_elements:]
        real = by_real[..., :count] + by_imag[..., count:]
        return tf.complex(real, by_real[..., count:] - by_imag[..., :count])


def _unit_rms(values: tf.Tensor) -> tf.Tensor:
    """Scales each scene to unit RMS. Divides by the largest modulus first, which avoids overflow and underflow."""
    axes = list(range(1, values.shape.rank))
    magnitude = tf.abs(values)
    largest = tf.reduce_max(magnitude, axis=axes, keepdims=True)
    largest = tf.where(largest > 0, largest, tf.ones_like(largest))
    rms = tf.sqrt(tf.reduce_mean((magnitude / largest) ** 2, axis=axes, keepdims=True))
    rms = tf.where(rms > 0, rms, tf.ones_like(rms))
    return values / tf.cast(largest, values.dtype) / tf.cast(rms, values.dtype)


def _operator_rows(channel: tf.Tensor, ris_codes: tf.Tensor) -> tf.Tensor:
    """H diag(c_l) as [Re, Im], [B, L M, 2N]. Uses real arithmetic, since no other tensor is as large."""
    real, imag = tf.math.real(channel)[:, None], tf.math.imag(channel)[:, None]
    code_real, code_imag = tf.math.real(ris_codes)[:, :, None], tf.math.imag(ris_codes)[:, :, None]
    rows = tf.concat([real * code_real - imag * code_imag, real * code_imag + imag * code_real], axis=-1)
    return tf.reshape(rows, [tf.shape(rows)[0], -1, 2 * channel.shape[-1]])


def measurement_specs(num_antennas: int, num_elements: int) -> dict[str, tf.TensorSpec]:
    """Specs of the arguments of `observe`, in order; B and L are free, M and N are fixed."""
    return {
        "snapshots": tf.TensorSpec([None, None, num_antennas], tf.complex64, "snapshots"),
        "ris_codes": tf.TensorSpec([None, None, num_elements], tf.complex64, "ris_codes"),
        "channel": tf.TensorSpec([None, num_antennas, num_elements], tf.complex64, "channel"),
        "snr_db": tf.TensorSpec([None], tf.float32, "snr_db"),
    }


def observation_specs(num_antennas: int, num_elements: int) -> Observation:
    """Specs of the tensors of an `Observation`; B and L are free, M and N are fixed."""
    measured = measurement_specs(num_antennas, num_elements)
    rows = tf.TensorSpec([None, None, 2 * num_elements], tf.float32, "rows")
    noise_power = tf.TensorSpec([None], tf.float32, "noise_power")
    return Observation(measured["snapshots"], measured["ris_codes"], measured["channel"], rows, noise_power)


def observe(snapshots: tf.Tensor, ris_codes: tf.Tensor, channel: tf.Tensor, snr_db: tf.Tensor) -> Observation:
    """Normalises a measurement.

    Args:
      snapshots, ris_codes, channel: [B, L, M], [B, L, N] and [B, M, N] complex64; snapshots and channel at any scale.
      snr_db: [B] float32, mean |y without noise|^2 / sigma^2, dB.

    Returns:
      The observation. sigma^2 = 1 / (1 + SNR), since the received power is one; at least 1e-5, the limit of float32.
    """
    channel = _unit_rms(channel)
    return Observation(
        snapshots=_unit_rms(snapshots),
        ris_codes=ris_codes,
        channel=channel,
        rows=_operator_rows(channel, ris_codes),
        noise_power=tf.maximum(1.0 / (1.0 + 10.0 ** (snr_db / 10.0)), _LEAST_NOISE_POWER),
    )
