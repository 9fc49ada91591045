"""Impairments: how a real installation differs from what the estimator is given. Drawn per scene and not stored."""

import dataclasses
import math
from typing import Annotated, NamedTuple

import numpy as np
import tensorflow as tf
from annotated_types import Interval

from models.checked import Infinite, Limits, NotNegative, Ordered, checked
from models.physics.geometry import RISArray
from models.physics.steering import source_positions_m

_Share = Annotated[float, Interval(ge=0, lt=1)]
Deviation = Annotated[tuple[NotNegative, NotNegative], Ordered]


@checked(frozen=True)
class ImpairmentConfig:
    """Limits of the uniform draws, each once per scene. Equal limits fix a value; (0, 0) disables the impairment."""

    channel_error_db: Annotated[tuple[Infinite, Infinite], Ordered] = (-25.0, -12.0)
    """Power of the channel error relative to the power of the channel, dB; (-inf, -inf) disables it."""
    phase_error_rms_rad: Deviation = (0.0, 0.3)
    """Standard deviation of the constant phase errors of the elements, radians. 0.3 is about a third of pi / 4, the
    phase step of 3 bits."""
    dead_share: Annotated[tuple[_Share, _Share], Ordered] = (0.0, 0.05)
    """Share of the elements that reflect nothing, 0 to below 1."""
    position_error_rms_wavelengths: Deviation = (0.0, 0.02)
    """Standard deviation of the element displacements along each axis, wavelengths. 0.02 is 6 mm at 1 GHz: the flatness
    of a panel of several boards, and far more than that of one board. It changes phases by up to 0.13 rad rms. The
    change depends on the direction, so no calibration of constant phases can remove it."""
    snr_error_db: Limits = (-2.0, 2.0)
    """Reported minus real SNR, dB."""


class Impairments(NamedTuple):
    """The impairments of one scene.

    channel_error: E, reported minus true channel, [M, N] complex128.
    element_response: g, the factor on the coefficient of each element, [N] complex128; zero for dead elements.
    displacement_m: e_n, true minus nominal element positions, [N, 3] float64, metres.
    snr_error_db: reported minus real SNR, dB.
    """

    channel_error: np.ndarray
    element_response: np.ndarray
    displacement_m: np.ndarray
    snr_error_db: float


def draw_impairments(
    rng: np.random.Generator, config: ImpairmentConfig, channel: np.ndarray, array: RISArray
) -> Impairments:
    """Draws the impairments of one scene with the true channel H, [M, N] complex128.

    The error of H is circular Gaussian, with a power relative to mean |H|^2.
    """
    num_elements = array.num_elements
    error_db, phase_rms, dead_share, position_rms, snr_error_db = (
        _uniform(rng, limits) for limits in dataclasses.astuple(config)
    )
    error_rms = math.sqrt(10.0 ** (error_db / 10.0) * np.mean(np.abs(channel) ** 2))
    error = math.sqrt(0.5) * rng.standard_normal((*channel.shape, 2)).view(np.complex128)[..., 0]
    response = np.exp(1j * phase_rms * rng.standard_normal(num_elements))
    response[rng.permutation(num_elements)[: round(dead_share * num_elements)]] = 0.0
    displacement_m = position_rms * array.wavelength_m * rng.standard_normal((num_elements, 3))
    return Impairments(error_rms * error, response, displacement_m, snr_error_db)


def _uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """Draws uniformly within the limits; equal limits, which may be infinite, are returned as they are."""
    draw = rng.random()
    return limits[0] if limits[0] == limits[1] else limits[0] + (limits[1] - limits[0]) * draw


def displacement_phasors(
    azimuth: np.ndarray, elevation: np.ndarray, range_m: np.ndarray, displacement_m: np.ndarray, array: RISArray
) -> np.ndarray:
    """Returns the factor of displaced elements on a steering vector: exp(-j k0 (|q - p_n - e_n| - |q - p_n|)).

    Azimuth, elevation (radians) and range (metres) are [K] float64, the displacements e_n are [N, 3] float64, metres.
    The result is [K, N] complex128 of unit modulus.
    """
    with tf.device("/CPU:0"):
        sources = source_positions_m(*(tf.constant(value, tf.float64) for value in (azimuth, elevation, range_m)))
    elements = np.pad(array.element_positions_m(), ((0, 0), (1, 0)))
    nominal = sources.numpy()[:, None, :] - elements
    detour_m = np.linalg.norm(nominal - displacement_m, axis=-1) - np.linalg.norm(nominal, axis=-1)
    return np.exp(-1j * array.wavenumber * detour_m)
