"""The measurement of one scene for the baselines, and steering vectors in NumPy."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from models.physics.geometry import RISArray
from models.physics.steering import steering_jacobian


@dataclasses.dataclass(frozen=True, eq=False)
class Measurement:
    """A measurement y_l = Phi_l sum_k sqrt(p_k) a_k s_kl + n_l with Phi_l = H diag(c_l).

    snapshots: y_l, [L, M] complex128.
    operator: measurement operators Phi_l, [L, M, N] complex128.
    noise_power: sigma^2, in units of |y|^2.
    """

    snapshots: np.ndarray
    operator: np.ndarray
    noise_power: float

    def respond(self, vectors: np.ndarray) -> np.ndarray:
        """Phi_l x_j: x [N, J] -> [L, M, J], complex128."""
        num_snapshots, num_antennas, num_elements = self.operator.shape
        stacked = self.operator.reshape(-1, num_elements) @ vectors
        return stacked.reshape(num_snapshots, num_antennas, vectors.shape[1])

    def back_project(self, values: np.ndarray) -> np.ndarray:
        """Phi_l^H x_lj: x [L, M, J] -> [L, N, J], complex128."""
        return self.operator.conj().mT @ values


def measure(
    snapshots: np.ndarray, ris_codes: np.ndarray, channel: np.ndarray, snr_db: float, noise_inflation: float = 0.0
) -> Measurement:
    """Normalises a measurement, so that it is independent of the receiver's gain and of the scale of the channel.

    As in `models.physics.observation`: mean |y|^2 = 1 and mean_m |h_m|^2 = N. The power of a source is then about its
    share of the received power, and sigma^2 = 1 / (1 + SNR).

    Args:
      snapshots, ris_codes, channel: y [L, M], c [L, N] and H [M, N] complex; y and H at any scale.
      snr_db: mean |y without noise|^2 / sigma^2, dB.
      noise_inflation: c. Adds c times the signal power SNR / (1 + SNR) to sigma^2, because the residual of channel and
        phase errors is proportional to the signal power.
    """
    snapshots = np.asarray(snapshots, np.complex128)
    channel = np.asarray(channel, np.complex128)
    snapshots = snapshots / np.sqrt(np.mean(np.abs(snapshots) ** 2))
    channel = channel / np.sqrt(np.mean(np.abs(channel) ** 2))
    operator = channel * np.asarray(ris_codes, np.complex128)[:, None, :]
    snr = 10.0 ** (float(snr_db) / 10.0)
    return Measurement(snapshots, operator, (1.0 + noise_inflation * snr) / (1.0 + snr))


@functools.lru_cache(maxsize=16)
def _jacobian_function(array: RISArray):
    """`steering_jacobian` as a traced function. Eager execution would take as long as the likelihood."""

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float64)], autograph=False)
    def jacobian(points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.device("/CPU:0"):
            return steering_jacobian(points[:, 0], points[:, 1], points[:, 2], array)

    return jacobian.get_concrete_function()


def steering_columns(points: np.ndarray, array: RISArray) -> tuple[np.ndarray, np.ndarray]:
    """Steering vectors a [N, K] and their derivatives da [3, N, K], complex128.

    The points are [K, 3] float64: azimuth, elevation (radians), inverse range (1/m). Derivatives are per these units.
    """
    vectors, slopes = _jacobian_function(array)(tf.constant(points, tf.float64))
    return vectors.numpy().T, slopes.numpy().transpose(1, 2, 0)
