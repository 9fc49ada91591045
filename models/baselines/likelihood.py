"""The Gaussian likelihood of a few sources: value, gradient, Fisher information, log-likelihood ratios.

S_l = B_l B_l^H + sigma^2 I with the columns b_k = sqrt(gamma_k) Phi_l a(psi_k). With p_ki = sqrt(gamma_k) Phi_l
da_k/dpsi_i (b_k / 2 for the log of the power), dS_l = p_ki b_k^H + b_k p_ki^H, and with G(x, y) = x^H S_l^-1 y

    NLL    = sum_l log |S_l| + y_l^H S_l^-1 y_l
    dNLL   = 2 Re sum_l G(b_k, p_ki) - G(b_k, y) G(p_ki, y)^*
    F      = 2 Re sum_l G(b_k, p_jm) G(b_j, p_ki) + G(b_k, b_j) G(p_jm, p_ki)
    llr_k  = sum_l log(1 - G(b_k, b_k)) + |G(b_k, y)|^2 / (1 - G(b_k, b_k)).

llr_k is the log-likelihood ratio of the model with source k to the model without it. F is
sum_l tr(S^-1 dS_i S^-1 dS_j) (Stoica and Nehorai 1990). S_l^-1 comes from the K x K matrix
C_l = B_l^H B_l + sigma^2 I by Woodbury's identity: sigma^2 S_l^-1 = I - U_l U_l^H with U_l = B_l C_l^(-1/2).
"""

from typing import NamedTuple

import numpy as np

from models.baselines.measurement import Measurement, steering_columns
from models.physics.geometry import RISArray

PARAMETERS = 4
"""Azimuth, elevation (radians), inverse range (1/m), log power."""


class Whitening(NamedTuple):
    """The inverse S_l^-1 = (I - U_l U_l^H) / sigma^2.

    basis: U_l, [L, M, K] complex128.
    noise_power: sigma^2.
    log_det: sum_l log |S_l|.
    """

    basis: np.ndarray
    noise_power: float
    log_det: float

    def solve(self, values: np.ndarray) -> np.ndarray:
        """S_l^-1 x_l: [L, M, J] -> [L, M, J]."""
        return (values - self.basis @ (self.basis.conj().mT @ values)) / self.noise_power


class Likelihood(NamedTuple):
    """The likelihood at K sources.

    nll: negative log-likelihood without its constant.
    gradient: of the NLL, [K, 4] float64.
    fisher: Fisher information, [K, 4, K, 4] float64.
    llr: log-likelihood ratio of each source, [K] float64.
    """

    nll: float
    gradient: np.ndarray
    fisher: np.ndarray
    llr: np.ndarray


def whitening(columns: np.ndarray, noise_power: float) -> Whitening:
    """S_l^-1 and log |S_l| of S_l = B_l B_l^H + sigma^2 I, with columns B_l [L, M, K] complex128."""
    num_snapshots, num_antennas, num_sources = columns.shape
    chol = np.linalg.cholesky(columns.conj().mT @ columns + noise_power * np.eye(num_sources))
    basis = np.linalg.solve(chol, columns.conj().mT).conj().mT
    diagonal = np.diagonal(chol, axis1=-2, axis2=-1).real
    free_dimensions = num_snapshots * (num_antennas - num_sources)
    return Whitening(basis, noise_power, 2.0 * np.log(diagonal).sum() + free_dimensions * np.log(noise_power))


def source_columns(parameters: np.ndarray, measurement: Measurement, array: RISArray) -> np.ndarray:
    """p_ki of every source, [L, M, 4, K] complex128, from parameters [K, 4]. Twice the last of the four is b_k."""
    vectors, slopes = steering_columns(parameters[:, :3], array)
    columns = np.concatenate([slopes, 0.5 * vectors[None]]) * np.exp(0.5 * parameters[:, 3])
    response = measurement.respond(columns.transpose(1, 0, 2).reshape(array.num_elements, -1))
    return response.reshape(*response.shape[:2], PARAMETERS, len(parameters))


def fisher_information(gram: np.ndarray) -> np.ndarray:
    """F, [K, 4, K, 4], from G(p_ki, p_jm), [L, 4, K, 4, K]."""
    of_source = 2.0 * gram[:, -1]  # G(b_k, p_jm), [L, K, 4, K]
    cross = np.einsum("lkmj,ljik->kijm", of_source, of_source)
    return 2.0 * (cross + np.einsum("lkj,lmjik->kijm", 2.0 * of_source[:, :, -1], gram)).real


def evaluate_likelihood(parameters: np.ndarray, measurement: Measurement, array: RISArray) -> Likelihood:
    """Evaluates the likelihood of K sources.

    `parameters` is [K, 4] float64: azimuth, elevation (radians), inverse range (1/m), log power in units of the
    measurement.
    """
    columns = source_columns(parameters, measurement, array)
    white = whitening(2.0 * columns[:, :, -1], measurement.noise_power)
    flat = columns.reshape(*columns.shape[:2], -1)
    snapshots = measurement.snapshots[..., None]
    solved = white.solve(np.concatenate([flat, snapshots], axis=-1))
    products = flat.conj().mT @ solved  # [L, 4K, 4K + 1]
    gram = products[..., :-1].reshape(len(flat), *columns.shape[2:], *columns.shape[2:])
    with_data = products[..., -1].reshape(len(flat), *columns.shape[2:])

    nll = white.log_det + np.vdot(snapshots, solved[..., -1:]).real
    of_source = 2.0 * np.einsum("lkik->lki", gram[:, -1])  # G(b_k, p_ki)
    seen = 2.0 * with_data[:, -1, :, None] * with_data.conj().mT  # G(b_k, y) G(p_ki, y)^*
    gradient = 2.0 * (of_source - seen).real.sum(axis=0)
    remaining = np.maximum(1.0 - 2.0 * of_source[..., -1].real, 1e-12)
    llr = np.log(remaining) + np.abs(2.0 * with_data[:, -1]) ** 2 / remaining
    return Likelihood(float(nll), gradient, fisher_information(gram), llr.sum(axis=0))
