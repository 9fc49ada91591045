"""The normalised measurement: independent of the receiver's gain and of the scale of the channel."""

from typing import NamedTuple

import tensorflow as tf

_LEAST_NOISE_POWER = 1e-5  # 50 dB below the received power


class Observation(NamedTuple):
    """Normalised scenes, or one scene without the axis B. Powers are relative to the received power.

    snapshots: y_l, [B, L, M] complex64, unit RMS in each scene.
    ris_codes: c_l, [B, L, N] complex64.
    channel: H, [B, M, N] complex64, scaled to mean_m |h_m|^2 = N, so that a source of power p delivers about p.
    embedded: H as the real matrix that maps rows [Re x_1, Im x_1, Re x_2, ...] to those of H x, [B, 2N, 2M] float32.
      Real products are about three times faster on a CPU than complex64.
    noise_power: sigma^2 from the reported SNR, [B] float32.
    """

    snapshots: tf.Tensor
    ris_codes: tf.Tensor
    channel: tf.Tensor
    embedded: tf.Tensor
    noise_power: tf.Tensor

    @property
    def operator(self) -> tf.Tensor:
        """The sensing matrices Phi_l = H diag(c_l), [B, L, M, N] complex64. Computed on each access; for checks."""
        return self.channel[..., None, :, :] * self.ris_codes[..., None, :]

    def scene(self, number: int) -> "Observation":
        """One scene, without the axis B."""
        return Observation(*(part[number] for part in self))

    def respond(self, rows: tf.Tensor) -> tf.Tensor:
        """Phi_l x_j for every snapshot, as one real product: rows x_j [B, J, N] -> [B, L, J, M]. Has no gradient."""
        return self._real_product(self.ris_codes[..., None, :] * rows[..., None, :, :], self.embedded)

    def back_project(self, rows: tf.Tensor) -> tf.Tensor:
        """Phi_l^H x_lj, as one real product: rows x_lj [B, L, J, M] -> [B, L, J, N]. Has no gradient."""
        fields = self._real_product(rows, self.embedded, adjoint=True)
        return fields * tf.math.conj(self.ris_codes)[..., None, :]

    def _real_product(self, rows: tf.Tensor, matrix: tf.Tensor, adjoint: bool = False) -> tf.Tensor:
        """Rows [B, L, J, n] times the embedded matrix, or its adjoint: one matrix product per scene."""
        shape, scenes = tf.shape(rows), [] if rows.shape.rank == 3 else [tf.shape(rows)[0]]
        flat = tf.reshape(tf.bitcast(rows, tf.float32), [*scenes, -1, 2 * rows.shape[-1]])
        products = tf.matmul(flat, matrix, transpose_b=adjoint)
        size = matrix.shape[-2 if adjoint else -1] // 2
        return tf.bitcast(tf.reshape(products, tf.concat([shape[:-1], [size, 2]], axis=0)), tf.complex64)


def _unit_rms(values: tf.Tensor) -> tf.Tensor:
    """Scales each scene to unit RMS. Divides by the largest modulus first, which avoids overflow and underflow."""
    axes = list(range(1, values.shape.rank))
    magnitude = tf.abs(values)
    largest = tf.reduce_max(magnitude, axis=axes, keepdims=True)
    largest = tf.where(largest > 0, largest, tf.ones_like(largest))
    rms = tf.sqrt(tf.reduce_mean((magnitude / largest) ** 2, axis=axes, keepdims=True))
    rms = tf.where(rms > 0, rms, tf.ones_like(rms))
    return values / tf.cast(largest, values.dtype) / tf.cast(rms, values.dtype)


def _embedded(channel: tf.Tensor) -> tf.Tensor:
    """[B, M, N] complex64 -> `Observation.embedded`."""
    columns = tf.linalg.matrix_transpose(channel)
    parts = tf.stack([tf.bitcast(columns, tf.float32), tf.bitcast(1j * columns, tf.float32)], axis=2)
    return tf.reshape(parts, [-1, 2 * channel.shape[2], 2 * channel.shape[1]])


def measurement_specs(num_antennas: int, num_elements: int) -> dict[str, tf.TensorSpec]:
    """Specs of the arguments of `observe`, in order; B and L are free, M and N are fixed."""
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
    embedded = tf.TensorSpec([2 * num_elements, 2 * num_antennas], tf.float32, "embedded")
    return Observation(snapshots, ris_codes, channel, embedded, snr_db)


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
        embedded=_embedded(channel),
        noise_power=tf.maximum(1.0 / (1.0 + 10.0 ** (snr_db / 10.0)), _LEAST_NOISE_POWER),
    )
