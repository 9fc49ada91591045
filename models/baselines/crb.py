"""The Cramer-Rao bound of source positions, for Gaussian symbols of unknown power.

    F_ij = sum_l tr(S_l^-1 dS_l/dx_i S_l^-1 dS_l/dx_j)

The parameters are azimuth, elevation, inverse range and log power of every source and, if it is unknown, the log of the
noise power. With J_k = dq_k/d(azimuth, elevation, 1/r), the covariance of any unbiased estimate of q_k is at least
J_k [F^-1]_kk J_k^T (Stoica and Nehorai 1990).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from models.baselines.likelihood import PARAMETERS, fisher_information, source_columns, whitening
from models.baselines.measurement import Measurement
from models.physics.geometry import RISArray


class PositionBound(NamedTuple):
    """Bound of the positions of K sources.

    covariance_m2: [K, 3, 3] float64, m^2.
    error_m: root of its trace, the RMS position error, [K] float64, metres.
    """

    covariance_m2: np.ndarray
    error_m: np.ndarray


def position_slopes(points: np.ndarray) -> np.ndarray:
    """dq/d(azimuth, elevation, 1/r), [K, 3, 3] float64, one column per parameter; metres per radian and per 1/m."""
    (sin_az, sin_el), (cos_az, cos_el) = np.sin(points[:, :2].T), np.cos(points[:, :2].T)
    range_m = 1.0 / points[:, 2]
    by_azimuth = [-cos_el * sin_az, cos_el * cos_az, np.zeros_like(range_m)]
    by_elevation = [-sin_el * cos_az, -sin_el * sin_az, cos_el]
    outwards = [cos_el * cos_az, cos_el * sin_az, sin_el]
    slopes = np.array([by_azimuth, by_elevation, outwards]) * range_m
    slopes[2] *= -range_m
    return slopes.transpose(2, 1, 0)


def information(
    parameters: np.ndarray, measurement: Measurement, array: RISArray, *, noise_known: bool = True
) -> np.ndarray:
    """Fisher information of K sources and, if it is unknown, of the log of the noise power.

    Args:
      parameters: [K, 4] float64: azimuth, elevation (radians), inverse range (1/m), log power.
      measurement: gives operator and noise power; the snapshots are not used.

    Returns:
      [4K, 4K], or [4K + 1, 4K + 1] with the noise power last; parameter i of source k is 4 k + i.
    """
    columns = source_columns(parameters, measurement, array)
    white = whitening(2.0 * columns[:, :, -1], measurement.noise_power)
    flat = columns.reshape(*columns.shape[:2], -1)
    solved = white.solve(flat)
    gram = (flat.conj().mT @ solved).reshape(len(columns), *columns.shape[2:], *columns.shape[2:])
    size = PARAMETERS * len(parameters)
    fisher = fisher_information(gram).reshape(size, size)
    if noise_known:
        return fisher
    by_source = solved.reshape(columns.shape)
    cross = 4.0 * np.einsum("lmk,lmik->ki", by_source[:, :, -1].conj(), by_source).real * measurement.noise_power
    num_snapshots, num_antennas = columns.shape[:2]
    inverse = white.solve(np.broadcast_to(np.eye(num_antennas), (num_snapshots, num_antennas, num_antennas)))
    own = measurement.noise_power**2 * np.sum(np.abs(inverse) ** 2)
    return np.block([[fisher, cross.reshape(-1, 1)], [cross.reshape(1, -1), np.full((1, 1), own)]])


def position_bound(fisher: np.ndarray, parameters: np.ndarray) -> PositionBound:
    """Converts the result of `information` at these parameters to the bound of the positions.

    Raises:
      numpy.linalg.LinAlgError: the Fisher information is singular, so that no bound exists.
    """
    scale = 1.0 / np.sqrt(np.diagonal(fisher))
    inverse = np.linalg.inv(fisher * scale[:, None] * scale) * scale[:, None] * scale
    slopes = position_slopes(parameters[:, :3])
    blocks = [
        inverse[first : first + 3, first : first + 3] for first in range(0, PARAMETERS * len(parameters), PARAMETERS)
    ]
    covariance = slopes @ np.reshape(blocks, (-1, 3, 3)) @ slopes.mT
    return PositionBound(covariance, np.sqrt(np.trace(covariance, axis1=-2, axis2=-1)))


def scene_bounds(scenes: Mapping[str, np.ndarray], array: RISArray, *, noise_known: bool = True) -> PositionBound:
    """The bound at the true sources of simulated scenes.

    Args:
      scenes: snapshots [B, L, M], ris_codes [B, L, N], channel [B, M, N], snr_db [B]; azimuth, elevation (radians),
        range_m, power [B, K_max] and num_sources [B]. In units of the simulator, not normalised.

    Returns:
      covariance_m2 [B, K_max, 3, 3] and error_m [B, K_max]; NaN in unused slots.
    """
    shape = np.shape(scenes["range_m"])
    covariance, error_m = np.full((*shape, 3, 3), np.nan), np.full(shape, np.nan)
    for scene, num_sources in enumerate(np.asarray(scenes["num_sources"])):
        truth = [np.asarray(scenes[key][scene][:num_sources], np.float64) for key in ("azimuth", "elevation")]
        range_m, power = (np.asarray(scenes[key][scene][:num_sources], np.float64) for key in ("range_m", "power"))
        parameters = np.stack([*truth, 1.0 / range_m, np.log(power)], axis=-1)
        snapshots = np.asarray(scenes["snapshots"][scene], np.complex128)
        operator = np.asarray(scenes["channel"][scene], np.complex128) * np.asarray(scenes["ris_codes"][scene])[:, None]
        noise_power = np.mean(np.abs(snapshots) ** 2) / (1.0 + 10.0 ** (float(scenes["snr_db"][scene]) / 10.0))
        fisher = information(
            parameters, Measurement(snapshots, operator, float(noise_power)), array, noise_known=noise_known
        )
        bound = position_bound(fisher, parameters)
        covariance[scene, :num_sources], error_m[scene, :num_sources] = bound
    return PositionBound(covariance, error_m)
