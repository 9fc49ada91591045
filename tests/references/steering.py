"""Slow reference of `models.physics.steering`: the formulas of docs/conventions.md, one element after the other."""

import cmath
import math

import numpy as np

from models.physics.geometry import RISArray


def element_position_m(n: int, array: RISArray) -> np.ndarray:
    """p_n as [3], metres."""
    vertical, horizontal = divmod(n, array.num_horizontal)
    y = (horizontal - (array.num_horizontal - 1) / 2 + array.index_offset) * array.spacing_m
    z = (vertical - (array.num_vertical - 1) / 2 + array.index_offset) * array.spacing_m
    return np.array([0.0, y, z])


def source_position_m(azimuth: float, elevation: float, range_m: float) -> np.ndarray:
    """q as [3], metres."""
    return range_m * np.array(
        [
            math.cos(elevation) * math.cos(azimuth),
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
        ]
    )


def steering_vector(azimuth: float, elevation: float, range_m: float, array: RISArray) -> np.ndarray:
    """a as [N] complex128.

    Spherical: a_n = exp(j k0 (r - |q - p_n|)) / sqrt(N).
    Fresnel: a_n = exp(j k0 (h sin(azimuth) cos(elevation) + v sin(elevation) - (h^2 + v^2) / (2 r))) / sqrt(N).
    Times r / |q - p_n| for a spherical amplitude, and cos^e of the angle between q - p_n and the normal, +x.
    """
    wavenumber = 2 * math.pi / array.wavelength_m
    num_elements = array.num_horizontal * array.num_vertical
    vector = np.empty(num_elements, np.complex128)
    for n in range(num_elements):
        position = element_position_m(n, array)
        if array.wavefront == "fresnel":
            _, h, v = position
            path = h * math.sin(azimuth) * math.cos(elevation) + v * math.sin(elevation) - (h**2 + v**2) / (2 * range_m)
        else:
            path = range_m - float(np.linalg.norm(source_position_m(azimuth, elevation, range_m) - position))
        to_source = source_position_m(azimuth, elevation, range_m) - position
        distance = float(np.linalg.norm(to_source))
        modulus = (to_source[0] / distance) ** array.element_exponent / math.sqrt(num_elements)
        if array.amplitude == "spherical":
            modulus *= range_m / distance
        vector[n] = modulus * cmath.exp(1j * wavenumber * path)
    return vector
