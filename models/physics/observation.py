"""The normalised measurement: independent of the receiver's gain and of the scale of the channel."""

from typing import NamedTuple

import tensorflow as tf

_LEAST_NOISE_POWER = 1e-5  # 50 dB below the received power


class Observation(NamedTuple):
    """Normalised scenes, or one scene without the axis B. Powers are relative to the received power.

    snapshots: y_l, [B, L, M] complex64, unit RMS in each scene.
    ris_codes: c_l, [B, L, N] complex64.
    channel: H, [B, M, N] complex64, scaled to mean_m |h_m|^2 = N, so that a source of power p delivers about p.
    columns: the sensing matrices Phi_l = H diag(c_l) as real columns [Re Phi, Im Phi], one for each antenna and
      snapshot, [B, 2N, M L] float32. Real products are about three times faster on a CPU than complex64.
    noise_power: sigma^2 from the reported SNR, [B] float32.
    """

    snapshots: tf.Tensor
    ris_codes: tf.Tensor
    channel: tf.Tensor
    columns: tf.Tensor
    noise_power: tf.Tensor

    @property
    def operator(self) -> tf.Tensor:
        """The sensing matrices Phi_l = H diag(c_l), [B, L, M, N] complex64. Computed on each access; for checks."""
        return self.channel[..., None, :, :] * self.ris_codes[..., None, :]

    def scene(self, number: int) -> "Observation":
        """One scene, without the axis B."""
        return Observation(*(part[number] for part in self))

    def respond(self, vectors: tf.Tensor) -> tf.Tensor:
        """Phi_l x_j for every snapshot, as one real product: x_j [B, J, N] -> [B, L, J, M]. Has no gradient."""
        real, imag = tf.math.real(vectors), tf.math.imag(vectors)
        parts = tf.concat([tf.concat([real, -imag], -1), tf.concat([imag, real], -1)], -2)
        real, imag = tf.split(tf.matmul(parts, self.columns), 2, axis=-2)
        shape = tf.concat([tf.shape(real)[:-1], [self.channel.shape[-2], -1]], axis=0)
        products = tf.reshape(tf.complex(real, imag), shape)  # [B, J, M, L]
        return tf.transpose(products, [2, 0, 1] if vectors.shape.rank == 2 else [0, 3, 1, 2])

    def back_project(self, values: tf.Tensor) -> tf.Tensor:
        """Phi_l^H x_l of every snapshot: x [B, L, M] -> [B, L, N]."""
        return tf.math.conj(tf.matmul(tf.math.conj(values), self.channel) * self.ris_codes)

    def back_project_sum(self, values: tf.Tensor) -> tf.Tensor:
        """sum_l Phi_l^H x_lj, as one real product: x_j [L, J, M] of one scene -> [J, N]. Has no gradient."""
        count = tf.shape(values)[1]
        flat = tf.reshape(tf.transpose(values, [1, 2, 0]), [count, -1])
        parts = tf.concat([tf.math.real(flat), tf.math.imag(flat)], axis=0)
        by_real, by_imag = tf.split(
            tf.matmul(parts, self.columns, transpose_b=True), 2, axis=-1
        )  # products with Re Phi and Im Phi
        real = by_real[:count] + by_imag[count:]
        return tf.complex(real, by_real[count:] - by_imag[:count])


def _unit_rms(values: tf.Tensor) -> tf.Tensor:
    """Scales each scene to unit RMS. Divides by the largest modulus first, which avoids overflow and underflow."""
    axes = list(range(1, values.shape.rank))
    magnitude = tf.abs(values)
    largest = tf.reduce_max(magnitude, axis=axes, keepdims=True)
    largest = tf.where(largest > 0, largest, tf.ones_like(largest))
    rms = tf.sqrt(tf.reduce_mean((magnitude / largest) ** 2, axis=axes, keepdims=True))
    rms = tf.where(rms > 0, rms, tf.ones_like(rms))
    return values / tf.cast(largest, values.dtype) / tf.cast(rms, values.dtype)


def _sensing_columns(channel: tf.Tensor, ris_codes: tf.Tensor) -> tf.Tensor:
    """`Observation.columns`. Uses real arithmetic, since no other tensor is as large."""
    channel, codes = tf.linalg.matrix_transpose(channel), tf.linalg.matrix_transpose(ris_codes)
    real, imag = tf.math.real(channel), tf.math.imag(channel)
    of_real, of_imag = tf.concat([real, imag], 1)[..., None], tf.concat([-imag, real], 1)[..., None]
    code_real, code_imag = (tf.tile(part(codes), [1, 2, 1])[:, :, None] for part in (tf.math.real, tf.math.imag))
    columns = code_real * of_real + code_imag * of_imag  # [B, 2N, M, L]
    return tf.reshape(columns, [-1, columns.shape[1], channel.shape[2] * tf.shape(codes)[2]])


def measurement_specs(num_antennas: int | None, num_elements: int | None) -> dict[str, tf.TensorSpec]:
    """Specs of the arguments of `observe`, in order; B and L are free, and sizes that are None."""
    return {
        "snapshots": tf.TensorSpec([None, None, num_antennas], tf.complex64, "snapshots"),
        "ris_codes": tf.TensorSpec([None, None, num_elements], tf.complex64, "ris_codes"),
        "channel": tf.TensorSpec([None, num_antennas, num_elements], tf.complex64, "channel"),
        "snr_db": tf.TensorSpec([None], tf.float32, "snr_db"),
    }


def scene_specs(num_antennas: int, num_elements: int) -> Observation:
    """Specs of the tensors of one scene of an `Observation`, without the axis B; L is free, M and N are fixed."""
    measured = measurement_specs(num_antennas, num_elements)
    snapshots, ris_codes, channel, snr_db = (
        tf.TensorSpec(spec.shape[1:], spec.dtype, name) for name, spec in measured.items()
    )
    columns = tf.TensorSpec([2 * num_elements, None], tf.float32, "columns")
    return Observation(snapshots, ris_codes, channel, columns, snr_db)


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
        columns=_sensing_columns(channel, ris_codes),
        noise_power=tf.maximum(1.0 / (1.0 + 10.0 ** (snr_db / 10.0)), _LEAST_NOISE_POWER),
    )
